// SPDX-License-Identifier: Apache-2.0
/*
 * The names of everything that the probe speaks of: backends, stages, causes, sources, errors and
 * file systems.
 *
 * Errors have a table of their own because strerrorname_np is missing in glibc before 2.32 and in
 * musl.  It has those that the calls made here have been seen or documented to answer, and those
 * that seccomp profiles use.
 */
#include "probe/names.h"

#include <errno.h>
#include <ringfall/verdict.h>
#include <stdio.h>
#include <string.h>

static const char *const backend_names[RF_BACKENDS] = {
    [RF_BACKEND_IO_URING] = "io_uring",
    [RF_BACKEND_LIBAIO] = "libaio",
    [RF_BACKEND_THREADS] = "threads",
};

static const char *const stage_names[] = {
    [RF_STAGE_NONE] = "none",     [RF_STAGE_BUILD] = "build",
    [RF_STAGE_SETUP] = "setup",   [RF_STAGE_REGISTER] = "register",
    [RF_STAGE_SUBMIT] = "submit", [RF_STAGE_WAIT] = "wait",
    [RF_STAGE_IO] = "io",
};

static const char *const cause_names[] = {
    [RF_CAUSE_NONE] = "none",
    [RF_CAUSE_NOT_BUILT] = "not built",
    [RF_CAUSE_SECCOMP] = "seccomp",
    [RF_CAUSE_SYSCTL] = "sysctl",
    [RF_CAUSE_NO_SYSCALL] = "no syscall",
    [RF_CAUSE_MEMLOCK] = "memlock",
    [RF_CAUSE_AIO_MAX_NR] = "aio-max-nr",
    [RF_CAUSE_NOFILE] = "nofile",
    [RF_CAUSE_NOMEM] = "memory",
    [RF_CAUSE_PERMISSION] = "permission",
    [RF_CAUSE_FLAG] = "flag",
    [RF_CAUSE_STORAGE] = "storage",
    [RF_CAUSE_OTHER] = "other",
};

static const char *const alignment_source_names[] = {
    [RF_ALIGNMENT_NONE] = "none",
    [RF_ALIGNMENT_STATX] = "statx",
    [RF_ALIGNMENT_DEVICE] = "device",
    [RF_ALIGNMENT_ASSUMED] = "assumed",
};

/* Enumerations that come from C callers may hold anything. */
#define NAME_IN(table, index)                                                                      \
  ((size_t)(index) < sizeof(table) / sizeof((table)[0]) ? (table)[(size_t)(index)] : "unknown")

const char *rf_backend_name(enum rf_backend_id id) {
  return NAME_IN(backend_names, id);
}

const char *rf_stage_name(enum rf_stage stage) {
  return NAME_IN(stage_names, stage);
}

const char *rf_cause_name(enum rf_cause cause) {
  return NAME_IN(cause_names, cause);
}

const char *rf_alignment_source_name(enum rf_alignment_source source) {
  return NAME_IN(alignment_source_names, source);
}

int rf_backend_by_name(const char *name, enum rf_backend_id *id) {
  if (name == NULL || id == NULL) return -EINVAL;
  for (int i = 0; i < RF_BACKENDS; i++) {
    if (strcmp(name, backend_names[i]) != 0) continue;
    *id = (enum rf_backend_id)i;
    return 0;
  }
  return -EINVAL;
}

#define NAMED(error)                                                                               \
  { error, #error }

static const struct {
  int error;
  const char *name;
} errors[] = {
    NAMED(EPERM),        NAMED(ENOENT),     NAMED(ESRCH),        NAMED(EINTR),
    NAMED(EIO),          NAMED(ENXIO),      NAMED(E2BIG),        NAMED(EBADF),
    NAMED(ECHILD),       NAMED(EAGAIN),     NAMED(ENOMEM),       NAMED(EACCES),
    NAMED(EFAULT),       NAMED(ENOTBLK),    NAMED(EBUSY),        NAMED(EEXIST),
    NAMED(EXDEV),        NAMED(ENODEV),     NAMED(ENOTDIR),      NAMED(EISDIR),
    NAMED(EINVAL),       NAMED(ENFILE),     NAMED(EMFILE),       NAMED(ENOTTY),
    NAMED(ETXTBSY),      NAMED(EFBIG),      NAMED(ENOSPC),       NAMED(ESPIPE),
    NAMED(EROFS),        NAMED(EMLINK),     NAMED(EPIPE),        NAMED(EDOM),
    NAMED(ERANGE),       NAMED(EDEADLK),    NAMED(ENAMETOOLONG), NAMED(ENOLCK),
    NAMED(ENOSYS),       NAMED(ENOTEMPTY),  NAMED(ELOOP),        NAMED(ENOANO),
    NAMED(ENODATA),      NAMED(ETIME),      NAMED(ENONET),       NAMED(ENOLINK),
    NAMED(EPROTO),       NAMED(EBADMSG),    NAMED(EOVERFLOW),    NAMED(EUSERS),
    NAMED(EMEDIUMTYPE),  NAMED(EOPNOTSUPP), NAMED(ENOBUFS),      NAMED(ETIMEDOUT),
    NAMED(ECONNREFUSED), NAMED(EALREADY),   NAMED(EINPROGRESS),  NAMED(ESTALE),
    NAMED(EUCLEAN),      NAMED(EREMOTEIO),  NAMED(EDQUOT),       NAMED(ENOMEDIUM),
    NAMED(ECANCELED),    NAMED(ENOKEY),     NAMED(EKEYREJECTED), NAMED(EHWPOISON),
    NAMED(EOWNERDEAD),   NAMED(EBADFD),     NAMED(EILSEQ),
};

const char *rf_errno_symbol(int error) {
  for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
    if (errors[i].error == error) return errors[i].name;
  return NULL;
}

const char *rf_errno_name(int error, struct rf_errno_room *room) {
  const char *symbol = rf_errno_symbol(error);
  if (symbol != NULL) return symbol;
  snprintf(room->text, sizeof(room->text), "errno %d", error);
  return room->text;
}

/* From linux/magic.h and the file systems' own sources; several are in no header. */
static const struct {
  uint32_t magic;
  const char *name;
} file_systems[] = {
    {0xEF53, "ext4"}, /* ext2 and ext3 too: one driver, one number */
    {0x58465342, "xfs"},       {0x9123683E, "btrfs"},
    {0x01021994, "tmpfs"}, /* devtmpfs and memfd too */
    {0x794C7630, "overlayfs"}, {0x6969, "nfs"},
    {0x65735546, "fuse"}, /* virtiofs too */
    {0xF2F52010, "f2fs"},      {0x2FC12FC1, "zfs"},
    {0xCA451A4E, "bcachefs"},  {0x858458F6, "ramfs"},
    {0x958458F6, "hugetlbfs"}, {0x9FA0, "proc"},
    {0x62656572, "sysfs"},     {0x64626720, "debugfs"},
    {0x74726163, "tracefs"},   {0x63677270, "cgroup2"},
    {0x27E0EB, "cgroup"},      {0x4D44, "vfat"},
    {0x2011BAB0, "exfat"},     {0x7366746E, "ntfs3"},
    {0x5346544E, "ntfs"},      {0x73717368, "squashfs"},
    {0xE0F5E1E2, "erofs"},     {0x9660, "iso9660"},
    {0x15013346, "udf"},       {0x00C36400, "ceph"},
    {0xFF534D42, "cifs"},      {0xFE534D42, "smb2"},
    {0x517B, "smb"},           {0x01021997, "9p"},
    {0x01161970, "gfs2"},      {0x7461636F, "ocfs2"},
    {0x0BD00BD0, "lustre"},    {0x47504653, "gpfs"},
    {0x19830326, "fhgfs"},     {0x5346414F, "afs"},
    {0x6B414653, "kafs"},      {0xF15F, "ecryptfs"},
    {0x3153464A, "jfs"},       {0x52654973, "reiserfs"},
    {0x3434, "nilfs2"},        {0x24051905, "ubifs"},
    {0x72B6, "jffs2"},         {0x6165676C, "pstore"},
    {0x62646576, "bdevfs"},    {0x50495045, "pipefs"},
    {0x534F434B, "sockfs"},    {0x09041934, "anon_inodefs"},
    {0x19800202, "mqueue"},    {0x1CD1, "devpts"},
};

void rf_file_system_name(uint64_t magic, char *name, size_t size) {
  for (size_t i = 0; i < sizeof(file_systems) / sizeof(file_systems[0]); i++) {
    if (file_systems[i].magic != magic) continue;
    snprintf(name, size, "%s", file_systems[i].name);
    return;
  }
  snprintf(name, size, "0x%llx", (unsigned long long)magic);
}
