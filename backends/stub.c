// SPDX-License-Identifier: Apache-2.0
/* What all stubs share: see stub.h. */
#include "backends/stub.h"

#include <errno.h>

int rf_stub_refuse(struct rf_backend_report *report, const char *reason, const char *remedy) {
  report->absent = true;
  report->syscall = "";
  report->error = ENOSYS;
  report->reason = reason;
  report->remedy = remedy;
  return -ENOSYS;
}

void rf_stub_close(struct rf_backend *backend) {
  (void)backend;
}

int rf_stub_submit(struct rf_backend *backend, struct rf_request *const *requests, unsigned n,
                   unsigned wait, int64_t timeout_ns) {
  (void)backend, (void)requests, (void)n, (void)wait, (void)timeout_ns;
  return -ENOSYS;
}

unsigned rf_stub_reap(struct rf_backend *backend, struct rf_result *results, unsigned max) {
  (void)backend, (void)results, (void)max;
  return 0;
}

int rf_stub_cancel(struct rf_backend *backend, struct rf_request *request) {
  (void)backend, (void)request;
  return -ENOSYS;
}

int rf_stub_pollable(struct rf_backend *backend) {
  (void)backend;
  return -ENOSYS;
}

int rf_stub_watch(struct rf_backend *backend, int fd) {
  (void)backend, (void)fd;
  return -ENOSYS;
}

int rf_stub_salvage(struct rf_backend *backend, int64_t timeout_ns) {
  (void)backend, (void)timeout_ns;
  return -ENOSYS;
}
