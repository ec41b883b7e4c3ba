// SPDX-License-Identifier: Apache-2.0
/* Opening an engine on other tables than those of the real backends: for what wraps them. */
#ifndef RINGFALL_ENGINE_SUBSTITUTE_H
#define RINGFALL_ENGINE_SUBSTITUTE_H

#include <stdbool.h>

#include "backends/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rf_engine;
struct rf_engine_options;

struct rf_substitute {
  const struct rf_backend_ops *const *backends; /* RF_BACKEND_TABLES of them, static */
  void *context; /* reaches their open() as config->context; outlives the engine */
  bool probed;   /* the host is probed and the choice is made as ever; else all count as usable */
};

/* As rf_engine_open(); substitute may be NULL. */
int rf_engine_open_with(struct rf_engine **out, const struct rf_engine_options *options,
                        const struct rf_substitute *substitute);

#ifdef __cplusplus
}
#endif
#endif
