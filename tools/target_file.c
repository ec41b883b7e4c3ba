// SPDX-License-Identifier: Apache-2.0
/* A file that appears, or is replaced, in one step when it is whole. */
#include "target_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source_file.h"

void target_file_init(struct target_file *target, const char *name) {
  memset(target, 0, sizeof(*target));
  target->name = name;
  target->new_file.fd = target->new_file.directory_fd = -1;
}

static bool same_file(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Finds the name to replace: a symbolic link is followed, as cp(1) does. */
static enum tool_exit resolve(const char *command, struct target_file *target,
                              const char *source_name, const struct stat *source) {
  const char *name = target->name;
  struct stat link;
  if (lstat(name, &link) != 0 && errno != ENOENT)
    return tool_fail(command, TOOL_FAILED, "%s: %s", name, strerror(errno));
  target->exists = stat(name, &target->old) == 0;
  if (target->exists && source != NULL && same_file(&target->old, source))
    return tool_fail(command, TOOL_FAILED, "%s: is the same file as %s", name, source_name);
  if (target->exists && !S_ISREG(target->old.st_mode))
    return tool_fail(command, TOOL_FAILED, "%s: %s", name, file_kind(&target->old));
  const bool is_link = lstat(name, &link) == 0 && S_ISLNK(link.st_mode);
  if (is_link && realpath(name, target->path) == NULL)
    return tool_fail(command, TOOL_FAILED, "%s: a symbolic link to nothing", name);
  if (!is_link && strlen(name) >= sizeof(target->path))
    return tool_fail(command, TOOL_FAILED, "%s: %s", name, strerror(ENAMETOOLONG));
  if (!is_link) strcpy(target->path, name);
  return TOOL_OK;
}

enum tool_exit target_file_open(const char *command, struct target_file *target,
                                const char *source_name, const struct stat *source) {
  const enum tool_exit status = resolve(command, target, source_name, source);
  if (status != TOOL_OK) return status;
  const int error = rf_new_file_open(&target->new_file, target->path, RF_NEW_FILE_TO_PUBLISH, 0600);
  if (error == 0) return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: cannot make a file there: %s", target->name,
                   strerror(-error));
}

void target_file_directory(const char *path, char directory[PATH_MAX]) {
  const char *slash = strrchr(path, '/');
  if (slash == NULL)
    strcpy(directory, ".");
  else
    snprintf(directory, PATH_MAX, "%.*s", (int)(slash - path + 1), path);
}

enum tool_exit target_file_publish(const char *command, struct target_file *target, bool sync) {
  int status = rf_new_file_publish(&target->new_file, true);
  if (status != 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot be given its name: %s", target->name,
                     strerror(-status));
  status = sync ? rf_new_file_sync_directory(&target->new_file) : 0;
  if (status != 0)
    return tool_fail(command, TOOL_FAILED, "%s: is there, but its directory cannot be synced: %s",
                     target->name, strerror(-status));
  return TOOL_OK;
}

void target_file_close(struct target_file *target) {
  rf_new_file_close(&target->new_file);
}

mode_t target_file_default_mode(void) {
  const mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}
