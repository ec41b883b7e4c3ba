// SPDX-License-Identifier: Apache-2.0
/* The slots of a backend that was left out at build time.  Its open() always fails, so that the
 * others are never reached; they are there because a table is always complete. */
#ifndef RINGFALL_BACKENDS_STUB_H
#define RINGFALL_BACKENDS_STUB_H

#include "backends/backend.h"

/* Fills in the report of an open() that fails because nothing was compiled in. */
int rf_stub_refuse(struct rf_backend_report *report, const char *reason, const char *remedy);

void rf_stub_close(struct rf_backend *backend);
int rf_stub_submit(struct rf_backend *backend, struct rf_request *const *requests, unsigned n,
                   unsigned wait, int64_t timeout_ns);
unsigned rf_stub_reap(struct rf_backend *backend, struct rf_result *results, unsigned max);
int rf_stub_cancel(struct rf_backend *backend, struct rf_request *request);
int rf_stub_pollable(struct rf_backend *backend);
int rf_stub_watch(struct rf_backend *backend, int fd);
int rf_stub_salvage(struct rf_backend *backend, int64_t timeout_ns);

#endif
