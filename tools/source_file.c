// SPDX-License-Identifier: Apache-2.0
/* A file to read from. */
#include "source_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

const char *file_kind(const struct stat *stat) {
  switch (stat->st_mode & S_IFMT) {
    case S_IFDIR:
      return "is a directory";
    case S_IFCHR:
      return "is a character device";
    case S_IFBLK:
      return "is a block device";
    case S_IFIFO:
      return "is a pipe";
    case S_IFSOCK:
      return "is a socket";
    default:
      return "is not a regular file";
  }
}

/* Files of /proc and the like say that they are empty, and are not.  Some of them wait for content.
 */
static bool hides_content(int fd) {
  struct stat now;
  char byte;
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return false;
  const ssize_t count = pread(fd, &byte, 1, 0);
  (void)fcntl(fd, F_SETFL, flags);
  return count > 0 && fstat(fd, &now) == 0 && now.st_size == 0; /* it may just have grown */
}

enum tool_exit source_file_open(const char *command, const char *name, struct source_file *source) {
  source->name = name;
  source->fd = -1;
  /* Asked before it is opened: opening a pipe or a device can have effects. */
  if (stat(name, &source->stat) != 0)
    return tool_fail(command, TOOL_FAILED, "%s: %s", name, strerror(errno));
  if (!S_ISREG(source->stat.st_mode) && !S_ISBLK(source->stat.st_mode))
    return tool_fail(command, TOOL_FAILED, "%s: %s", name, file_kind(&source->stat));
  source->fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (source->fd < 0 || fstat(source->fd, &source->stat) != 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot open: %s", name, strerror(errno));
  if (S_ISREG(source->stat.st_mode) && source->stat.st_size == 0 && hides_content(source->fd))
    return tool_fail(command, TOOL_FAILED, "%s: has content though its size is 0 (cat reads it)",
                     name);
  return TOOL_OK;
}

void source_file_close(struct source_file *source) {
  if (source->fd >= 0) close(source->fd);
  source->fd = -1;
}

enum tool_exit source_file_unchanged(const char *command, const struct source_file *source,
                                     uint64_t size) {
  const struct stat *before = &source->stat;
  struct stat now;
  if (fstat(source->fd, &now) != 0)
    return tool_fail(command, TOOL_FAILED, "%s: %s", source->name, strerror(errno));
  if (!S_ISREG(now.st_mode)) return TOOL_OK;
  if (now.st_size != before->st_size || (uint64_t)now.st_size != size)
    return tool_fail(command, TOOL_FAILED, "%s: became %s while it was copied", source->name,
                     now.st_size < before->st_size ? "shorter" : "longer");
  if (now.st_mtim.tv_sec != before->st_mtim.tv_sec ||
      now.st_mtim.tv_nsec != before->st_mtim.tv_nsec)
    return tool_fail(command, TOOL_FAILED, "%s: was written to while it was copied", source->name);
  return TOOL_OK;
}
