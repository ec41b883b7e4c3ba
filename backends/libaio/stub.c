// SPDX-License-Identifier: Apache-2.0
/* Stands in for the libaio backend where that was left out at build time. */
#include "backends/stub.h"

#include <ringfall_build/libaio.h>

static int stub_open(const struct rf_backend_config *config, struct rf_backend **out,
                     struct rf_backend_report *report) {
  (void)config, (void)out;
  return rf_stub_refuse(report, RF_BUILD_LIBAIO_REASON, RF_BUILD_LIBAIO_REMEDY);
}

const struct rf_backend_ops rf_libaio_backend = {
    .name = "libaio",
    .submit_call = "io_submit",
    .open = stub_open,
    .close = rf_stub_close,
    .abandon = rf_stub_close,
    .submit = rf_stub_submit,
    .salvage = rf_stub_salvage,
    .reap = rf_stub_reap,
    .cancel = rf_stub_cancel,
    .pollable = rf_stub_pollable,
    .watch = rf_stub_watch,
    .register_file = rf_register_no_file,
    .register_memory = rf_register_no_memory,
};
