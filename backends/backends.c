// SPDX-License-Identifier: Apache-2.0
/* The list of all backends: the one place that knows them all, and the order of preference. */
#include "backends/backend.h"

const struct rf_backend_ops *const rf_backend_tables[RF_BACKEND_TABLES] = {
    &rf_uring_backend,
    &rf_libaio_backend,
    &rf_threads_backend,
};
