// SPDX-License-Identifier: Apache-2.0
#include "backends/uring/setup.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From 2.5 on liburing knows such rings.  The flag alone proves little: the kernel's header has it
 * as well, and a distribution may put a newer one of those into an older liburing. */
#if defined(IO_URING_CHECK_VERSION)
#if !IO_URING_CHECK_VERSION(2, 5)
#define RF_LIBURING_KNOWS_NO_SQARRAY
#endif
#endif

#if defined(RF_LIBURING_KNOWS_NO_SQARRAY)

static int set_up_without_array(unsigned entries, struct io_uring *ring,
                                struct io_uring_params *params) {
  params->flags |= IORING_SETUP_NO_SQARRAY;
  return io_uring_queue_init_params(entries, ring, params);
}

#else

#include "backends/uring/uapi.h"

/* A liburing that does not know the flag would fill in the array, and find the ring's head in its
 * place.  So this does what io_uring_queue_init_params() does before that.  What
 * io_uring_queue_mmap() sets of the ring besides its pointers differs from release to release. */
static int set_up_without_array(unsigned entries, struct io_uring *ring,
                                struct io_uring_params *params) {
  params->flags |= IORING_SETUP_NO_SQARRAY;
  int fd = (int)syscall(SYS_io_uring_setup, entries, params);
  if (fd < 0) return -errno;
  int status = io_uring_queue_mmap(fd, params, ring);
  if (status != 0) {
    close(fd);
    return status;
  }
  ring->flags = params->flags;
  ring->features = params->features;
  ring->ring_fd = ring->enter_ring_fd = fd;
  return 0;
}

#endif

int rf_uring_setup(unsigned entries, struct io_uring *ring, struct io_uring_params *params) {
  struct io_uring_params without = *params;
  int status = set_up_without_array(entries, ring, &without);
  if (status == -EINVAL) return io_uring_queue_init_params(entries, ring, params);
  *params = without;
  return status;
}
