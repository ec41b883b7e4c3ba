// SPDX-License-Identifier: Apache-2.0
/* A file that is not there until it is whole: O_TMPFILE, linkat, renameat2. */
#include "engine/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".ringfall-XXXXXX"
#define TRIES  100

static int open_directory(struct rf_new_file *file, const char *path) {
  const char *slash = strrchr(path, '/');
  const char *name = slash != NULL ? slash + 1 : path;
  char directory[PATH_MAX];
  if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return -EISDIR;
  if (strlen(name) > NAME_MAX || strlen(path) >= sizeof(directory)) return -ENAMETOOLONG;
  strcpy(file->name, name);
  if (slash == NULL)
    strcpy(directory, ".");
  else
    snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path + 1), path);
  file->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return file->directory_fd < 0 ? -errno : 0;
}

/* ".NAME.ringfall-XXXXXX", with NAME cut so that it fits. */
static int hidden_name(const char *name, char hidden[NAME_MAX + 1]) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
  unsigned char random[6];
  if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) return -EIO;
  const int room = NAME_MAX - 1 - (int)strlen(SUFFIX);
  const int length = snprintf(hidden, NAME_MAX + 1, ".%.*s%s", room, name, SUFFIX);
  for (int i = 0; i < 6; i++) hidden[length - 6 + i] = letters[random[i] % 64];
  return 0;
}

/* Calls `make` with hidden names until one is free. */
static int with_hidden_name(struct rf_new_file *file,
                            int (*make)(struct rf_new_file *, const char *)) {
  for (int i = 0; i < TRIES; i++) {
    char hidden[NAME_MAX + 1];
    int status = hidden_name(file->name, hidden);
    if (status == 0) status = make(file, hidden);
    if (status == -EEXIST) continue;
    if (status == 0) strcpy(file->temporary, hidden);
    return status;
  }
  return -EEXIST;
}

static int create_hidden(struct rf_new_file *file, const char *hidden) {
  file->fd = openat(file->directory_fd, hidden, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, file->mode);
  return file->fd < 0 ? -errno : 0;
}

/* The file's entry in /proc, from which it is linked without privileges. */
struct proc_path {
  char text[40];
};
static const char *proc_path(const struct rf_new_file *file, struct proc_path *buffer) {
  snprintf(buffer->text, sizeof(buffer->text), "/proc/self/fd/%d", file->fd);
  return buffer->text;
}

static int link_as(struct rf_new_file *file, const char *name) {
  struct proc_path proc;
  if (linkat(AT_FDCWD, proc_path(file, &proc), file->directory_fd, name, AT_SYMLINK_FOLLOW) == 0)
    return 0;
  return -errno;
}

static int create_nameless(struct rf_new_file *file, enum rf_new_file_kind kind) {
  file->fd = openat(file->directory_fd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, file->mode);
  if (file->fd < 0) return -errno;
  struct proc_path proc;
  if (kind == RF_NEW_FILE_SCRATCH || access(proc_path(file, &proc), F_OK) == 0) return 0;
  close(file->fd); /* no /proc: it could never be given a name */
  file->fd = -1;
  return -EOPNOTSUPP;
}

/* File systems and kernels without O_TMPFILE answer in different ways. */
static bool lacks_tmpfile(int status) {
  return status == -EOPNOTSUPP || status == -EISDIR || status == -EINVAL || status == -ENOSYS;
}

int rf_new_file_open(struct rf_new_file *file, const char *path, enum rf_new_file_kind kind,
                     mode_t mode) {
  memset(file, 0, sizeof(*file));
  file->mode = mode;
  file->fd = file->directory_fd = -1;
  int status = open_directory(file, path);
  if (status == 0) status = create_nameless(file, kind);
  if (file->directory_fd >= 0 && lacks_tmpfile(status)) {
    status = with_hidden_name(file, create_hidden);
    if (status == 0 && kind == RF_NEW_FILE_SCRATCH &&
        unlinkat(file->directory_fd, file->temporary, 0) == 0)
      file->temporary[0] = '\0';
  }
  if (status != 0) rf_new_file_close(file);
  return status;
}

/* rename(2) that refuses an existing name: not every file system has the flag, and those that lack
 * it (NFS) have links. */
static int rename_new(const struct rf_new_file *file) {
  const int at = file->directory_fd;
  if (renameat2(at, file->temporary, at, file->name, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return -errno;
  if (linkat(at, file->temporary, at, file->name, 0) != 0) return -errno;
  unlinkat(at, file->temporary, 0);
  return 0;
}

int rf_new_file_publish(struct rf_new_file *file, bool replace) {
  const bool nameless = file->temporary[0] == '\0';
  if (nameless && !replace) return link_as(file, file->name);
  int status = nameless ? with_hidden_name(file, link_as) : 0;
  if (status != 0) return status;
  if (replace)
    status = renameat(file->directory_fd, file->temporary, file->directory_fd, file->name) == 0
                 ? 0
                 : -errno;
  else
    status = rename_new(file);
  if (status == 0) file->temporary[0] = '\0';
  return status;
}

int rf_new_file_sync_directory(const struct rf_new_file *file) {
  return fsync(file->directory_fd) == 0 ? 0 : -errno;
}

void rf_new_file_close(struct rf_new_file *file) {
  if (file->temporary[0] != '\0' && file->directory_fd >= 0)
    unlinkat(file->directory_fd, file->temporary, 0);
  if (file->fd >= 0) close(file->fd);
  if (file->directory_fd >= 0) close(file->directory_fd);
  file->fd = file->directory_fd = -1;
  file->temporary[0] = '\0';
}
