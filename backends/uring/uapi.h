// SPDX-License-Identifier: Apache-2.0
/* What the backend uses of the kernel's io_uring.h that liburing's copy may not have yet: liburing
 * 2.0 to 2.3 are in use.  The numbers are kernel ABI. */
#ifndef RINGFALL_BACKENDS_URING_UAPI_H
#define RINGFALL_BACKENDS_URING_UAPI_H

#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY                                                                    \
  (1U << 16) /* Linux 6.6: no indirection between ring and entries                                 \
              */
#endif

#ifndef IORING_FEAT_MIN_TIMEOUT
#define IORING_FEAT_MIN_TIMEOUT (1U << 15) /* Linux 6.12 */
#endif

#endif
