// SPDX-License-Identifier: Apache-2.0
/* A backend put to the test: real requests through it, as a queue would send them. */
#ifndef RINGFALL_PROBE_TRIAL_H
#define RINGFALL_PROBE_TRIAL_H

#include "backends/backend.h"
#include "probe/cause.h"

/*
 * Passes a nop, a write and a read through the backend, on fd, a file that nobody else uses.
 * *refusal tells what went wrong; error == 0 if nothing did.  The backend is closed in the end.
 *
 * False: a request is still in the kernel's hands.  The backend and the request's memory are then
 * left alone for ever, and fd has to be left open as well.
 */
bool rf_trial(struct rf_backend *backend, int fd, const char *wait_call,
              struct rf_refusal *refusal);

#endif
