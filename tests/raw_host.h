// SPDX-License-Identifier: Apache-2.0
// What this host's kernel offers, found out by raw system calls: tests must not take the library's
// own verdict for it, or a backend that the library cannot open would go untested in silence.
#ifndef RINGFALL_TESTS_RAW_HOST_H
#define RINGFALL_TESTS_RAW_HOST_H

#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <ringfall/verdict.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace raw_host {

inline bool Works(rf_backend_id backend) {
  if (backend == RF_BACKEND_IO_URING) {
    io_uring_params params = {};
    int fd = static_cast<int>(syscall(SYS_io_uring_setup, 8, &params));
    if (fd >= 0) close(fd);
    return fd >= 0;
  }
  if (backend == RF_BACKEND_LIBAIO) {
    aio_context_t context = 0;
    // EAGAIN: others hold all of fs.aio-max-nr now, which is no refusal.
    if (syscall(SYS_io_setup, 8, &context) != 0) return errno == EAGAIN;
    syscall(SYS_io_destroy, context);
  }
  return true;
}

// Have rings places for files and memory that are filled in later?
inline bool HasPlaces() {
  io_uring_params params = {};
  io_uring_rsrc_register places = {};
  places.nr = 1;
  places.flags = IORING_RSRC_REGISTER_SPARSE;
  int fd = static_cast<int>(syscall(SYS_io_uring_setup, 8, &params));
  long status = syscall(SYS_io_uring_register, fd, IORING_REGISTER_FILES2, &places, sizeof(places));
  if (fd >= 0) close(fd);
  return status == 0;
}

} // namespace raw_host

#endif
