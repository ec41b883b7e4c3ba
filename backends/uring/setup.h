// SPDX-License-Identifier: Apache-2.0
#ifndef RINGFALL_BACKENDS_URING_SETUP_H
#define RINGFALL_BACKENDS_URING_SETUP_H

#include <liburing.h>

/* As io_uring_queue_init_params(), which it is, but that the array between the submission ring and
 * its entries is left out (IORING_SETUP_NO_SQARRAY, Linux 6.6) where the kernel can do without. */
int rf_uring_setup(unsigned entries, struct io_uring *ring, struct io_uring_params *params);

#endif
