// SPDX-License-Identifier: Apache-2.0
/*
 * What an open file can do, learned without reading, writing or moving anything.
 *
 * RWF_NOWAIT cannot be learned from transfers of no bytes: the kernel answers those with 0 before
 * it looks at the flag (seen on ext4, xfs, btrfs, tmpfs and proc).  What shows it are transfers
 * that can never take place, at the end of all possible offsets and with the address NULL.  Files
 * without support answer EOPNOTSUPP to that, others 0, EAGAIN, EFAULT or EFBIG.
 *
 * For a read that is safe everywhere: there is nothing to be read, and atime is at most renewed, as
 * by any read.  For a write it is safe only where the file system has no offsets that high, so that
 * the kernel turns it down (EFBIG) before it touches the inode.  Elsewhere a bad address alone must
 * not be relied on: tmpfs of Linux 6.18 answers EFAULT to such a write and makes the file 8 EiB
 * long all the same.  Which of the two it is, FIEMAP tells without side effects, since it knows the
 * same bound: ext4 is of the first kind, xfs and btrfs are not.  There the question stays open for
 * buffered writes (nowait_write_tried); rf_probe_directory() answers it, with a file of its own.
 *
 * Opening the file a second time, to see whether O_DIRECT is accepted, is the last resort: closing
 * that descriptor would drop all POSIX locks that the process holds on the file (fcntl(2)).  So it
 * is not done where statx tells, nor when there is any lock on the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <ringfall/verdict.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "probe/limits.h"
#include "probe/names.h"
#include "probe/uapi.h"

#define SECTOR_LEAST 512u

/* ---- what it is ----------------------------------------------------------------------------- */

static uint64_t capacity(int fd) {
  uint64_t bytes = 0;
  return ioctl(fd, BLKGETSIZE64, &bytes) == 0 ? bytes : 0;
}

/* lseek alone does not tell: eventfds and their like (timerfd, signalfd) take it, and nothing
 * moves.  Reading nothing gets as far as the question whether the file has offsets; into one
 * buffer, for QEMU's emulation of a process keeps calls without buffers to itself. */
static bool is_stream(int fd) {
  char none;
  struct iovec empty = {&none, 0};
  if (lseek(fd, 0, SEEK_CUR) < 0) return errno == ESPIPE;
  return preadv(fd, &empty, 1, 0) < 0 && errno == ESPIPE;
}

static int describe(int fd, int flags, struct rf_file_info *info) {
  struct stat status;
  struct statfs system;
  if (fstat(fd, &status) != 0 || fstatfs(fd, &system) != 0) return -errno;
  info->magic = (uint32_t)system.f_type; /* signed, and sign-extended on some machines */
  rf_file_system_name(info->magic, info->file_system, sizeof(info->file_system));
  info->regular = S_ISREG(status.st_mode);
  info->block_device = S_ISBLK(status.st_mode);
  info->size = info->block_device ? capacity(fd) : (uint64_t)status.st_size;
  info->block_size = (uint32_t)status.st_blksize;
  info->direct = flags & O_DIRECT && (info->regular || info->block_device);
  info->stream = is_stream(fd);
  return 0;
}

/* ---- direct I/O ----------------------------------------------------------------------------- */

/* True: the kernel has spoken, perhaps that there is no direct I/O. */
static bool ask_statx(int fd, struct rf_file_info *info) {
  struct rf_statx answer;
  memset(&answer, 0, sizeof(answer));
  if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, RF_STATX_DIOALIGN, &answer) != 0) return false;
  if (!(answer.mask & RF_STATX_DIOALIGN)) return false;
  info->direct_possible = answer.dio_offset_align != 0 && answer.dio_mem_align != 0;
  if (!info->direct_possible) return true;
  info->memory_align = answer.dio_mem_align;
  info->offset_align = answer.dio_offset_align;
  info->alignment_source = RF_ALIGNMENT_STATX;
  return true;
}

static bool ask_device(int fd, struct rf_file_info *info) {
  int sector = 0;
  if (!info->block_device || ioctl(fd, BLKSSZGET, &sector) != 0 || sector <= 0) return false;
  info->memory_align = info->offset_align = (uint32_t)sector;
  info->alignment_source = RF_ALIGNMENT_DEVICE;
  return true;
}

/*
 * The block size is a multiple of the sector wherever there are sectors.  A page is always enough:
 * sectors larger than that exist only on kernels whose statx tells.  Network file systems name
 * their transfer size as the block size, which need not even be a power of two.
 */
static void assume(struct rf_file_info *info) {
  uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
  uint32_t align = info->block_size;
  if (align > page || (align & (align - 1)) != 0) align = page;
  if (align < SECTOR_LEAST) align = SECTOR_LEAST;
  info->memory_align = info->offset_align = align;
  info->alignment_source = RF_ALIGNMENT_ASSUMED;
}

/* As seen through F_OFD_GETLK, which shows also the locks of this process itself. */
static bool may_be_locked(int fd) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  return fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

static bool try_direct(int fd, int flags) {
  char path[40];
  if (may_be_locked(fd)) return false;
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  int again = open(path, (flags & O_ACCMODE) | O_DIRECT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (again < 0) return false;
  close(again);
  return true;
}

static void learn_direct(int fd, int flags, struct rf_file_info *info) {
  info->memory_align = info->offset_align = 1;
  if (!info->regular && !info->block_device) return;
  bool told = ask_statx(fd, info);
  if (!told) info->direct_possible = info->direct || info->block_device || try_direct(fd, flags);
  if (info->direct) info->direct_possible = true;
  if (info->alignment_source == RF_ALIGNMENT_NONE && !ask_device(fd, info)) assume(info);
}

/* ---- RWF_NOWAIT ----------------------------------------------------------------------------- */

/* Nothing can be there, and length and offset suit direct I/O. */
#define NOWHERE_BYTES  ((size_t)1 << 16)
#define NOWHERE_OFFSET (INT64_MAX - 2 * (int64_t)NOWHERE_BYTES + 1)

/* A raw call: neither a wrapper's emulation nor a sanitizer's look at the buffer is wanted.  The
 * offset goes in two halves, of which 64-bit kernels use the first only. */
static int transfer_nowhere(long call, int fd, int flags) {
  struct iovec nothing = {NULL, NOWHERE_BYTES};
  unsigned long low = (unsigned long)NOWHERE_OFFSET;
  unsigned long high = (unsigned long)((uint64_t)NOWHERE_OFFSET >> 32);
  return syscall(call, fd, &nothing, 1L, low, high, (long)flags) < 0 ? errno : 0;
}

static bool nowait_read(int fd) {
  int error = transfer_nowhere(SYS_preadv2, fd, RWF_NOWAIT);
  return error == 0 || error == EAGAIN || error == EFAULT;
}

/* Does the file system turn down NOWHERE_OFFSET as too high? */
static bool nowhere_is_out_of_bounds(int fd) {
  struct fiemap map = {.fm_start = (uint64_t)NOWHERE_OFFSET, .fm_length = NOWHERE_BYTES};
  return ioctl(fd, FS_IOC_FIEMAP, &map) != 0 && errno == EFBIG;
}

/*
 * False: not to be tried.  RLIMIT_FSIZE would send a SIGXFSZ.  With O_APPEND the offset counts only
 * where the kernel can be told so; where it cannot, EOPNOTSUPP may mean that.
 */
static bool try_nowait_write(int fd, int flags, struct rf_file_info *info) {
  if (rf_file_size_limit() != INT64_MAX || !nowhere_is_out_of_bounds(fd)) return false;
  int append = flags & O_APPEND ? RF_RWF_NOAPPEND : 0;
  int error = transfer_nowhere(SYS_pwritev2, fd, RWF_NOWAIT | append);
  if (append != 0 && error == EOPNOTSUPP) return false;
  info->nowait_write = error == EFBIG || error == EAGAIN || error == EFAULT;
  return true;
}

/* The kernel marks an open file, not a direction, and what file systems refuse in spite of the mark
 * are buffered writes: so for direct ones the reads' answer stands.  Block devices have never taken
 * the flag for buffered writes. */
static void learn_nowait_write(int fd, int flags, struct rf_file_info *info) {
  info->nowait_write_tried = try_nowait_write(fd, flags, info);
  if (info->nowait_write_tried) return;
  bool readable = (flags & O_ACCMODE) == O_RDWR;
  info->nowait_write_tried = readable && info->direct;
  info->nowait_write = info->nowait_write_tried && info->nowait_read;
}

/* Streams and character devices are left alone: there is no offset at which nothing happens. */
static void learn_nowait(int fd, int flags, struct rf_file_info *info) {
  int mode = flags & O_ACCMODE;
  if (!info->regular && !info->block_device) return;
  if (mode != O_WRONLY) info->nowait_read = nowait_read(fd);
  if (mode != O_RDONLY) learn_nowait_write(fd, flags, info);
}

int rf_probe_file(int fd, struct rf_file_info *info) {
  if (info == NULL) return -EINVAL;
  memset(info, 0, sizeof(*info));
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  if (flags & O_PATH) return -EBADF; /* not open for anything */
  int status = describe(fd, flags, info);
  if (status != 0) return status;
  learn_direct(fd, flags, info);
  learn_nowait(fd, flags, info);
  return 0;
}
