// SPDX-License-Identifier: Apache-2.0
/*
 * The descriptors of a transfer: opened by path, or the caller's, or a new file that will replace
 * an old one; with O_DIRECT where that can be had.  And what becomes of the file at the end.
 *
 * A descriptor of the caller's keeps its flags.  Where others are needed the file is opened again
 * through /proc/self/fd, which gives the same file also when its name is gone.
 *
 * All of this runs on workers, which block all signals: so SIGXFSZ is never raised.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "engine/transfer_internal.h"

#define SMALL_READ  4096u /* shorter reads are served through the page cache */
#define ACCESS_LIST "system.posix_acl_access"

/* A descriptor, and what was found out about it. */
struct base {
  int fd;
  int flags;                  /* as of F_GETFL */
  bool ours;                  /* its flags may be changed */
  bool close;                 /* and the target is to close it */
  const struct rf_file *lent; /* the caller's file that it belongs to; NULL: none */
  struct rf_file_info info;
};

/* ---- opening --------------------------------------------------------------------------------- */

static int reopen(const struct base *base, int extra) {
  char path[40];
  int flags = base->flags & (O_ACCMODE | O_DSYNC | O_SYNC);
  snprintf(path, sizeof(path), "/proc/self/fd/%d", base->fd);
  int fd = open(path, flags | extra | O_CLOEXEC | O_NOCTTY);
  return fd >= 0 ? fd : -errno;
}

static int open_for(const struct rf_transfer *transfer, int flags) {
  const mode_t mode = transfer->request.mode;
  int fd = open(transfer->path, flags | (transfer->write ? O_RDWR : O_RDONLY), mode);
  if (fd < 0 && errno == EACCES && transfer->write)
    fd = open(transfer->path, flags | O_WRONLY, mode);
  return fd >= 0 ? fd : -errno;
}

/* O_NONBLOCK: a pipe must not hold the worker up until somebody opens its other end.  With it a
 * file that somebody has a lease of is refused, and without it waited for: not for long, the kernel
 * breaks leases that are not given back. */
static int open_name(const struct rf_transfer *transfer) {
  int flags = O_CLOEXEC | O_NOCTTY;
  if (transfer->write && transfer->request.flags & RF_TRANSFER_CREATE) flags |= O_CREAT;
  int fd = open_for(transfer, flags | O_NONBLOCK);
  return fd == -EAGAIN ? open_for(transfer, flags) : fd;
}

static int refuse_odd_files(const struct base *base) {
  struct stat stat;
  if (base->info.stream) return -ESPIPE;
  if (base->info.regular || base->info.block_device) return 0;
  if (fstat(base->fd, &stat) != 0) return -errno;
  return S_ISDIR(stat.st_mode) ? -EISDIR : 0;
}

static int look_at(struct base *base) {
  int status = rf_probe_file(base->fd, &base->info);
  if (status != 0) return status;
  base->flags = fcntl(base->fd, F_GETFL);
  if (base->flags < 0) return -errno;
  return refuse_odd_files(base);
}

static int base_of_path(const struct rf_transfer *transfer, struct base *base) {
  base->fd = open_name(transfer);
  base->ours = base->close = true;
  if (base->fd < 0) return base->fd;
  int status = look_at(base);
  if (status != 0) close(base->fd);
  return status;
}

static int base_of_caller(const struct rf_transfer *transfer, struct base *base) {
  const struct rf_file *file = transfer->request.file;
  base->lent = file;
  base->fd = file != NULL ? file->fd : transfer->request.fd;
  if (file == NULL) return look_at(base);
  struct stat stat;
  base->info = file->info;
  base->flags = fcntl(base->fd, F_GETFL);
  if (base->flags < 0 || fstat(base->fd, &stat) != 0) return -errno;
  if (base->info.regular) base->info.size = (uint64_t)stat.st_size;
  return refuse_odd_files(base);
}

/* ---- replacing ------------------------------------------------------------------------------- */

/* What is to be replaced: a symbolic link means what it names. */
static int resolve(const char *path, char resolved[PATH_MAX], struct stat *old, bool *exists) {
  struct stat link;
  *exists = false;
  if (strlen(path) >= PATH_MAX) return -ENAMETOOLONG;
  strcpy(resolved, path);
  if (lstat(path, &link) != 0) return errno == ENOENT ? 0 : -errno;
  if (S_ISLNK(link.st_mode) && realpath(path, resolved) == NULL) return -errno;
  if (stat(resolved, old) != 0) return -errno;
  *exists = true;
  if (S_ISDIR(old->st_mode)) return -EISDIR;
  return S_ISREG(old->st_mode) ? 0 : -EINVAL;
}

/* Whoever may not give files away keeps them, and may still give them to a group. */
static void take_owner(int fd, const struct stat *old, const struct stat *made) {
  if (made->st_uid == old->st_uid && made->st_gid == old->st_gid) return;
  if (fchown(fd, old->st_uid, old->st_gid) != 0) (void)!fchown(fd, (uid_t)-1, old->st_gid);
}

/* One that the directory gave it. */
static int drop_list(int fd) {
  return fgetxattr(fd, ACCESS_LIST, NULL, 0) < 0 ? 0 : fremovexattr(fd, ACCESS_LIST);
}

/* Of a file with a list, the group's bits of the mode are the mask of the list: alone they would
 * allow the group what only others on the list may do. */
static int take_list(int fd, const char *old) {
  char *list = malloc(XATTR_SIZE_MAX);
  if (list == NULL) return -ENOMEM;
  ssize_t size = getxattr(old, ACCESS_LIST, list, XATTR_SIZE_MAX);
  bool none = size < 0 && (errno == ENODATA || errno == EOPNOTSUPP || errno == ENOSYS);
  int status = size >= 0 ? fsetxattr(fd, ACCESS_LIST, list, (size_t)size, 0) : -1;
  if (none) status = drop_list(fd);
  if (status != 0) status = -errno;
  free(list);
  return status;
}

/* The owner first: changing it takes set-user-ID bits away. */
static int take_after(int fd, const char *path, const struct stat *old) {
  struct stat made;
  if (fstat(fd, &made) != 0) return -errno;
  take_owner(fd, old, &made);
  int status = take_list(fd, path);
  if (status != 0) return status;
  return fchmod(fd, old->st_mode & 07777) == 0 ? 0 : -errno;
}

static int base_of_new(struct rf_transfer *transfer, struct base *base) {
  char path[PATH_MAX];
  struct stat old;
  bool exists;
  int status = resolve(transfer->path, path, &old, &exists);
  if (status != 0) return status;
  struct rf_new_file *new = calloc(1, sizeof(*new));
  if (new == NULL) return -ENOMEM;
  status =
      rf_new_file_open(new, path, RF_NEW_FILE_TO_PUBLISH, exists ? 0600 : transfer->request.mode);
  if (status != 0) {
    free(new);
    return status;
  }
  transfer->target.new_file = new;
  base->fd = new->fd;
  base->ours = true;
  status = exists ? take_after(base->fd, path, &old) : 0;
  return status != 0 ? status : look_at(base);
}

/* ---- direct or not --------------------------------------------------------------------------- */

struct wish {
  bool direct;   /* the aligned part */
  bool buffered; /* the ends, or all of it */
};

static struct wish wish_of(struct rf_transfer *transfer, const struct base *base) {
  const struct rf_transfer_request *request = &transfer->request;
  const struct rf_file_info *info = &base->info;
  struct wish none = {false, true};
  if (request->buffered || request->length == 0) return none;
  if (!info->regular && !info->block_device) return none;
  if (!info->direct_possible || info->offset_align > transfer->pool->bounce.chunk ||
      info->memory_align > (uint32_t)sysconf(_SC_PAGESIZE)) {
    transfer->target.refused_direct = true;
    return none;
  }
  if (!transfer->write) return request->length < SMALL_READ ? none : (struct wish){true, false};
  uint64_t unit = rf_transfer_write_unit(info);
  uint64_t start = (request->offset + unit - 1) / unit * unit, end = transfer->end / unit * unit;
  if (start >= end) return none;
  return (struct wish){true, start != request->offset || end != transfer->end};
}

/* What the probe would say of a descriptor with other flags: direct writes take NOWAIT where reads
 * do, and of buffered ones nothing is known. */
static struct rf_file_info info_as(const struct base *base, bool direct) {
  struct rf_file_info info = base->info;
  if (info.direct == direct) return info;
  info.direct = direct;
  info.nowait_write = direct && (info.nowait_read || info.nowait_write);
  info.nowait_write_tried = direct;
  return info;
}

static int make(struct rf_transfer *transfer, const struct base *base, int fd, bool own,
                bool direct, struct rf_file **file) {
  struct rf_file_info info = info_as(base, direct);
  int status = rf_file_make(transfer->pool->engine, fd, own, false, &info, file);
  if (status != 0 && own) close(fd);
  return status;
}

/* The descriptor itself in this role, or opened again for it. */
static int take_base(struct rf_transfer *transfer, const struct base *base, bool direct) {
  struct rf_target *target = &transfer->target;
  struct rf_file **file = direct ? &target->direct : &target->buffered;
  if (base->lent == NULL) return make(transfer, base, base->fd, base->close, direct, file);
  *file = transfer->request.file;
  *(direct ? &target->direct_lent : &target->buffered_lent) = true;
  return 0;
}

static int take_reopened(struct rf_transfer *transfer, const struct base *base, bool direct) {
  struct rf_file **file = direct ? &transfer->target.direct : &transfer->target.buffered;
  int fd = reopen(base, direct ? O_DIRECT : 0);
  return fd < 0 ? fd : make(transfer, base, fd, true, direct, file);
}

/* Flags that a descriptor of ours is to have; also without O_NONBLOCK from here on. */
static int set_flags(const struct base *base, bool direct) {
  int flags = base->flags & ~(O_NONBLOCK | O_DIRECT);
  return fcntl(base->fd, F_SETFL, flags | (direct ? O_DIRECT : 0)) == 0 ? 0 : -errno;
}

static int settle_ours(struct rf_transfer *transfer, const struct base *base, struct wish wish) {
  if (wish.direct && set_flags(base, !wish.buffered) != 0) {
    transfer->target.refused_direct = true;
    wish = (struct wish){false, true};
  }
  if (!wish.direct) (void)set_flags(base, false);
  int status = take_base(transfer, base, !wish.buffered);
  if (status != 0 || !wish.direct || !wish.buffered) return status;
  if (take_reopened(transfer, base, true) != 0) transfer->target.refused_direct = true;
  return 0;
}

/* As it is, if that will do, else opened again.  One that does not wait (O_NONBLOCK) is taken as it
 * is all the same when it cannot be opened again. */
static int take_lent(struct rf_transfer *transfer, const struct base *base, bool direct) {
  bool append = transfer->write && base->flags & O_APPEND;
  bool fits = !(base->flags & O_DIRECT) == !direct;
  if (fits && !append && !(base->flags & O_NONBLOCK)) return take_base(transfer, base, direct);
  int status = take_reopened(transfer, base, direct);
  if (status == 0 || append) return status == 0 ? 0 : -EINVAL;
  return fits ? take_base(transfer, base, direct) : status;
}

static int settle_lent(struct rf_transfer *transfer, const struct base *base, struct wish wish) {
  int status = wish.direct ? take_lent(transfer, base, true) : 0;
  if (status != 0) transfer->target.refused_direct = wish.buffered = true;
  if (!wish.buffered) return 0;
  status = take_lent(transfer, base, false);
  if (status != 0 && base->flags & O_DIRECT && !transfer->write)
    return take_base(transfer, base, true);
  return status;
}

/* ---- its directory --------------------------------------------------------------------------- */

static int open_directory_of(const char *path) {
  char resolved[PATH_MAX];
  if (realpath(path, resolved) == NULL) return -errno;
  char *slash = strrchr(resolved, '/');
  slash[slash == resolved] = '\0'; /* of "/name" the slash stays */
  int fd = open(resolved, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd >= 0 ? fd : -errno;
}

/* Now and not when it is synced: the path may mean another one by then. */
static int open_directory(struct rf_transfer *transfer) {
  const struct rf_transfer_request *request = &transfer->request;
  static const struct rf_file_info nothing;
  struct rf_target *target = &transfer->target;
  bool lent = target->new_file != NULL;
  if (!transfer->write || transfer->path == NULL || request->durability != RF_DURABLE_ENTRY)
    return 0;
  int fd = lent ? target->new_file->directory_fd : open_directory_of(transfer->path);
  if (fd < 0) return fd;
  int status = rf_file_make(transfer->pool->engine, fd, !lent, false, &nothing, &target->directory);
  if (status != 0 && !lent) close(fd);
  return status;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int any_fd(const struct rf_target *target) {
  return rf_file_fd(target->buffered != NULL ? target->buffered : target->direct);
}

static int cut_tail(struct rf_transfer *transfer, const struct base *base) {
  bool asked = transfer->write && transfer->request.flags & RF_TRANSFER_TRUNCATE;
  if (!asked || !base->info.regular || transfer->target.size <= transfer->end) return 0;
  if (ftruncate(any_fd(&transfer->target), (off_t)transfer->end) != 0) return -errno;
  transfer->target.size = transfer->end;
  return 0;
}

int rf_target_open(struct rf_transfer *transfer) {
  struct base base = {.fd = -1};
  const struct rf_transfer_request *request = &transfer->request;
  bool new = transfer->write && request->flags &RF_TRANSFER_REPLACE;
  int status = new                      ? base_of_new(transfer, &base)
               : transfer->path != NULL ? base_of_path(transfer, &base)
                                        : base_of_caller(transfer, &base);
  if (status != 0) return status;
  transfer->target.size = base.info.size;
  transfer->target.regular = base.info.regular;
  struct wish wish = wish_of(transfer, &base);
  status = base.ours ? settle_ours(transfer, &base, wish) : settle_lent(transfer, &base, wish);
  if (status == 0) status = open_directory(transfer);
  return status != 0 ? status : cut_tail(transfer, &base);
}

/* A descriptor of ours just loses the flag: nothing of it is in flight.  The caller's keeps it. */
int rf_target_retreat(struct rf_transfer *transfer) {
  struct rf_target *target = &transfer->target;
  struct rf_file *direct = target->direct;
  bool ours = direct->own || target->new_file != NULL;
  if (target->buffered != NULL) return 0;
  struct base base = {.fd = direct->fd, .info = direct->info};
  base.flags = fcntl(base.fd, F_GETFL);
  if (base.flags < 0) return -errno;
  if (!ours) return take_reopened(transfer, &base, false) == 0 ? 0 : -EINVAL;
  int status = set_flags(&base, false);
  if (status == 0) status = make(transfer, &base, base.fd, false, false, &target->buffered);
  if (status != 0) return status;
  target->buffered->own = direct->own;
  direct->own = false;
  return 0;
}

bool rf_target_wants_room(const struct rf_transfer *transfer) {
  return transfer->write && transfer->request.flags & RF_TRANSFER_PREALLOCATE &&
         transfer->target.regular && transfer->request.length > 0 &&
         transfer->end > transfer->target.size;
}

int rf_target_set_size(struct rf_transfer *transfer) {
  struct stat stat;
  int fd = any_fd(&transfer->target);
  if (fstat(fd, &stat) != 0) return -errno;
  if ((uint64_t)stat.st_size >= transfer->end) return 0;
  return ftruncate(fd, (off_t)transfer->end) == 0 ? 0 : -errno;
}

/* ---- the end --------------------------------------------------------------------------------- */

int rf_target_publish(struct rf_transfer *transfer) {
  return rf_new_file_publish(transfer->target.new_file, true);
}

/* Only if the file still ends within the range: whoever made it longer needs what is before. */
static void cut_room(const struct rf_transfer *transfer, uint64_t written_to) {
  struct stat stat;
  int fd = any_fd(&transfer->target);
  uint64_t keep = written_to > transfer->target.size ? written_to : transfer->target.size;
  if (fstat(fd, &stat) != 0 || (uint64_t)stat.st_size > transfer->end) return;
  if ((uint64_t)stat.st_size > keep) (void)!ftruncate(fd, (off_t)keep);
}

void rf_target_close(struct rf_transfer *transfer, uint64_t written_to) {
  struct rf_target *target = &transfer->target;
  if (target->extended && written_to < transfer->end) cut_room(transfer, written_to);
  if (!target->direct_lent) (void)rf_file_close(target->direct);
  if (!target->buffered_lent) (void)rf_file_close(target->buffered);
  (void)rf_file_close(target->directory);
  if (target->new_file != NULL) rf_new_file_close(target->new_file);
  free(target->new_file);
}
