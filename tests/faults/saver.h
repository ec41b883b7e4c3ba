/* SPDX-License-Identifier: Apache-2.0 */
/* A program's own code, which its test runs with faults: saves a text under a name, all or nothing.
 */
#ifndef SAVER_H
#define SAVER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rf_engine;

/* 0; or -errno, and the file `path` is as it was before. */
int save(struct rf_engine *engine, const char *path, const char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
