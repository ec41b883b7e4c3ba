// SPDX-License-Identifier: Apache-2.0
/*
 * The limits and rights of this process, and of the calling thread where threads can differ
 * (seccomp filters, capabilities), from getrlimit and /proc.
 *
 * No stdio: it would allocate, and a program may be out of memory or of descriptors just when it
 * wants to know why.
 */
#include "probe/limits.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The inode of the first user namespace; linux/nsfs.h names it USER_NS_INIT_INO since Linux 6.18,
 * but it has been the same since Linux 3.8. */
#define INITIAL_USER_NAMESPACE 0xEFFFFFFDu

/* At most size - 1 bytes, terminated.  False if it cannot be read. */
static bool read_text(const char *path, char *text, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  size_t length = 0;
  ssize_t got;
  while (length < size - 1 && (got = read(fd, text + length, size - 1 - length)) > 0)
    length += (size_t)got;
  close(fd);
  text[length] = '\0';
  return length > 0;
}

static int64_t number(const char *text, int base) {
  char *end;
  long long value = strtoll(text, &end, base);
  return end == text ? -1 : value;
}

static int64_t read_number(const char *path) {
  char text[32];
  return read_text(path, text, sizeof(text)) ? number(text, 10) : -1;
}

/* The value of one line of /proc/.../status; -1 if there is none. */
static int64_t status_field(const char *name, int base) {
  char text[4096];
  bool there = read_text("/proc/thread-self/status", text, sizeof(text)) ||
               read_text("/proc/self/status", text, sizeof(text));
  const char *line = there ? strstr(text, name) : NULL;
  return line == NULL ? -1 : number(line + strlen(name), base);
}

static int64_t resource_limit(int which) {
  struct rlimit limit;
  if (getrlimit((__rlimit_resource_t)which, &limit) != 0) return -1;
  return limit.rlim_cur > (rlim_t)INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}

int64_t rf_file_size_limit(void) {
  return resource_limit(RLIMIT_FSIZE);
}

void rf_probe_limits(struct rf_limits *limits) {
  struct utsname names;
  memset(limits, 0, sizeof(*limits));
  if (uname(&names) == 0) strncpy(limits->kernel, names.release, sizeof(limits->kernel) - 1);
  limits->memlock = resource_limit(RLIMIT_MEMLOCK);
  limits->nofile = resource_limit(RLIMIT_NOFILE);
  limits->fsize = resource_limit(RLIMIT_FSIZE);
  limits->aio_nr = read_number("/proc/sys/fs/aio-nr");
  limits->aio_max_nr = read_number("/proc/sys/fs/aio-max-nr");
  limits->io_uring_disabled = read_number("/proc/sys/kernel/io_uring_disabled");
  limits->seccomp = status_field("\nSeccomp:", 10);
}

static bool in_initial_user_namespace(void) {
  struct stat status;
  if (stat("/proc/self/ns/user", &status) != 0) return true; /* a kernel without them */
  return status.st_ino == INITIAL_USER_NAMESPACE;
}

static bool in_group(gid_t group) {
  enum { MOST = 1024 };
  gid_t groups[MOST];
  if (getegid() == group) return true;
  int count = getgroups(MOST, groups);
  for (int i = 0; i < count; i++)
    if (groups[i] == group) return true;
  return false;
}

void rf_probe_rights(struct rf_rights *rights) {
  int64_t effective = status_field("\nCapEff:", 16);
  bool counts = effective > 0 && in_initial_user_namespace();
  rights->ipc_lock = counts && (effective >> CAP_IPC_LOCK & 1);
  rights->sys_admin = counts && (effective >> CAP_SYS_ADMIN & 1);
  rights->ring_group = read_number("/proc/sys/kernel/io_uring_group");
  rights->in_ring_group = rights->ring_group >= 0 && in_group((gid_t)rights->ring_group);
  rights->max_processes = resource_limit(RLIMIT_NPROC);
}
