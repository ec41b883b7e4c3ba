// SPDX-License-Identifier: Apache-2.0
/*
 * Files for trying things out.
 *
 * O_TMPFILE comes first: such a file never has a name, so that not even SIGKILL leaves it behind.
 * Where a file system cannot do that (FUSE, NFS, vfat), a file with a random name is made and loses
 * its name at once.
 */
#include "probe/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "probe/limits.h"
#include "probe/uapi.h"

/* No secret: a name that is taken is tried again. */
static uint64_t random_number(void) {
  uint64_t number;
  struct timespec now;
  if (getrandom(&number, sizeof(number), GRND_NONBLOCK) == (ssize_t)sizeof(number)) return number;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_nsec * 0x9E3779B97F4A7C15u ^ (uint64_t)getpid();
}

static int named_for_a_moment(int directory, const char **call) {
  enum { TRIES = 16 };
  char name[48];
  int fd = -1;
  *call = "openat";
  for (int i = 0; i < TRIES; i++) {
    snprintf(name, sizeof(name), ".ringfall-probe-%016llx", (unsigned long long)random_number());
    fd = openat(directory, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 || errno != EEXIST) break;
  }
  if (fd < 0) return -errno;
  if (unlinkat(directory, name, 0) == 0) return fd;
  int error = errno;
  *call = "unlinkat";
  close(fd);
  return -error;
}

int rf_scratch_in_directory(const char *path, const char **call) {
  *call = "open";
  int fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  /* What file systems and kernels without O_TMPFILE answer, by experience and by open(2). */
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOSYS) return -errno;
  int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return -errno;
  fd = named_for_a_moment(directory, call);
  close(directory);
  return fd;
}

int rf_scratch_in_memory(void) {
  static const char *const places[] = {"/dev/shm", "/tmp"};
  const char *call;
  int fd = memfd_create("ringfall-probe", MFD_CLOEXEC | RF_MFD_NOEXEC_SEAL);
  if (fd < 0 && errno == EINVAL) fd = memfd_create("ringfall-probe", MFD_CLOEXEC);
  if (fd >= 0) return fd;
  int error = errno;
  for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
    fd = rf_scratch_in_directory(places[i], &call);
    if (fd >= 0) return fd;
  }
  return -error;
}

void rf_scratch_pattern(unsigned char *bytes, size_t count, uint32_t seed) {
  uint32_t state = seed * 2654435761u + 1u;
  for (size_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    bytes[i] = (unsigned char)(state >> 24);
  }
}

size_t rf_scratch_room(void) {
  int64_t limit = rf_file_size_limit();
  return limit >= 0 && limit < (int64_t)RF_SCRATCH_BYTES ? (size_t)limit : RF_SCRATCH_BYTES;
}
