// SPDX-License-Identifier: Apache-2.0
/*
 * What a directory can do, learned by doing it: a file without a name is made there, written and
 * read back, first through the page cache, then with O_DIRECT at the alignment just learned.
 *
 * The plain system calls are used, since the question is about the storage and not about a backend.
 */
#include <errno.h>
#include <fcntl.h>
#include <ringfall/verdict.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "probe/limits.h"
#include "probe/names.h"
#include "probe/scratch.h"

#define DIRECT_MOST ((size_t)16 << 20) /* far above every alignment that exists */

/* What an errno of a call means here, for people. */
static const char *meaning(const char *call, int error) {
  bool directory_is_there = strcmp(call, "open") != 0;
  if (directory_is_there && error == ENOENT) return "files cannot be made there";
  switch (error) {
    case ENOENT:
      return "there is no such directory";
    case ENOTDIR:
      return "it is not a directory";
    case EACCES:
    case EPERM:
      return "this process may not make files there";
    case EROFS:
      return "the file system is mounted read-only";
    case ENOSPC:
      return "the file system is full";
    case EDQUOT:
      return "the quota is used up";
    case EMFILE:
    case ENFILE:
      return "no file descriptor is left (RLIMIT_NOFILE, fs.file-max)";
    case EFBIG:
      return "RLIMIT_FSIZE is smaller than what the probe writes";
    case ENAMETOOLONG:
      return "the path is too long";
    case ELOOP:
      return "too many symbolic links";
    case ENOMEM:
      return "the kernel is short of memory";
    case EIO:
      return "the storage has failed";
    default:
      return "the file system refused it";
  }
}

static void refuse(struct rf_directory *d, const char *call, int error, const char *story) {
  struct rf_errno_room room;
  d->usable = false;
  d->syscall = call;
  d->error = error;
  if (story != NULL) {
    snprintf(d->why, sizeof(d->why), "%s: %s", call, story);
    return;
  }
  snprintf(d->why, sizeof(d->why), "%s answered %s: %s", call, rf_errno_name(error, &room),
           meaning(call, error));
}

/* All of it, or -errno; *call is what failed. */
static int write_all(int fd, const unsigned char *bytes, size_t count) {
  size_t done = 0;
  while (done < count) {
    ssize_t wrote = pwrite(fd, bytes + done, count - done, (off_t)done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return -errno;
    if (wrote == 0) return -EIO;
    done += (size_t)wrote;
  }
  return 0;
}

static int read_all(int fd, unsigned char *bytes, size_t count) {
  size_t done = 0;
  while (done < count) {
    ssize_t got = pread(fd, bytes + done, count - done, (off_t)done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (got == 0) return -EIO;
    done += (size_t)got;
  }
  return 0;
}

static bool try_buffered(int fd, struct rf_directory *d) {
  unsigned char wrote[RF_SCRATCH_BYTES], got[RF_SCRATCH_BYTES];
  if (rf_scratch_room() < sizeof(wrote)) return refuse(d, "pwrite", EFBIG, NULL), false;
  rf_scratch_pattern(wrote, sizeof(wrote), 1);
  int status = write_all(fd, wrote, sizeof(wrote));
  if (status != 0) return refuse(d, "pwrite", -status, NULL), false;
  status = read_all(fd, got, sizeof(got));
  if (status != 0) return refuse(d, "pread", -status, NULL), false;
  if (memcmp(wrote, got, sizeof(got)) == 0) return true;
  return refuse(d, "pread", EIO, "brought other bytes than had been written"), false;
}

/* The same bytes once more, so that nothing is lost if the kernel takes them. */
static void try_nowait_write(int fd, struct rf_file_info *file) {
  unsigned char bytes[RF_SCRATCH_BYTES];
  struct iovec all = {bytes, sizeof(bytes)};
  rf_scratch_pattern(bytes, sizeof(bytes), 1);
  ssize_t wrote = pwritev2(fd, &all, 1, 0, RWF_NOWAIT);
  file->nowait_write = wrote > 0 || (wrote < 0 && errno == EAGAIN);
  file->nowait_write_tried = true;
}

static size_t round_up(size_t count, size_t unit) {
  return (count + unit - 1) / unit * unit;
}

/* 0 or -errno.  The descriptor has O_DIRECT; memory holds twice `count` bytes. */
static int write_and_read_direct(int fd, unsigned char *memory, size_t count) {
  unsigned char *got = memory + count;
  rf_scratch_pattern(memory, count, 2);
  int status = write_all(fd, memory, count);
  if (status == 0) status = read_all(fd, got, count);
  if (status == 0 && memcmp(memory, got, count) != 0) status = -EIO;
  return status;
}

/* Memory comes from mmap: aligned to a page by itself, and cut to larger alignments here. */
static int try_direct(int fd, const struct rf_file_info *file) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) != 0) return -errno;
  size_t unit = file->offset_align > file->memory_align ? file->offset_align : file->memory_align;
  size_t count = round_up(RF_SCRATCH_BYTES, unit);
  if (count > DIRECT_MOST) return -EINVAL;
  int64_t limit = rf_file_size_limit();
  if (limit >= 0 && limit < (int64_t)count) return -EFBIG; /* and no SIGXFSZ */
  size_t size = 2 * count + unit;
  unsigned char *memory =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return -errno;
  size_t skip = round_up((uintptr_t)memory, unit) - (uintptr_t)memory;
  int status = write_and_read_direct(fd, memory + skip, count);
  munmap(memory, size);
  return status;
}

static bool measure(int fd, struct rf_directory *d) {
  struct statvfs system;
  if (fstatvfs(fd, &system) != 0) return refuse(d, "fstatvfs", errno, NULL), false;
  d->free_bytes = (uint64_t)system.f_bavail * system.f_frsize;
  int status = rf_probe_file(fd, &d->file);
  if (status != 0) return refuse(d, "fstat", -status, NULL), false;
  return true;
}

int rf_probe_directory(const char *path, struct rf_directory *directory) {
  const char *call;
  if (path == NULL || directory == NULL) return -EINVAL;
  *directory = (struct rf_directory){.syscall = "", .direct_error = ENOTSUP};
  int fd = rf_scratch_in_directory(path, &call);
  if (fd < 0) {
    refuse(directory, call, -fd, NULL);
    return 0;
  }
  directory->usable = try_buffered(fd, directory);
  bool measured = measure(fd, directory); /* of a full file system, too */
  directory->usable = directory->usable && measured;
  if (directory->usable) {
    try_nowait_write(fd, &directory->file);
    directory->direct_error = -try_direct(fd, &directory->file);
  }
  close(fd);
  return 0;
}
