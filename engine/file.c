// SPDX-License-Identifier: Apache-2.0
/* Files: a descriptor, and what the probe learned of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/internal.h"

static void count_file(struct rf_engine *engine, int change) {
  pthread_mutex_lock(&engine->lock);
  engine->files += (unsigned)change;
  pthread_mutex_unlock(&engine->lock);
}

static int refuse_directory(int fd) {
  struct stat stat;
  if (fstat(fd, &stat) != 0) return -errno;
  return S_ISDIR(stat.st_mode) ? -EISDIR : 0;
}

int rf_file_make(struct rf_engine *engine, int fd, bool own, bool append,
                 const struct rf_file_info *info, struct rf_file **out) {
  struct rf_file *file = calloc(1, sizeof(*file));
  if (file == NULL) return -ENOMEM;
  file->engine = engine;
  file->fd = fd;
  file->own = own;
  file->append = append;
  file->info = *info;
  file->place = RF_NONE;
  rf_route_classify(file);
  count_file(engine, 1);
  *out = file;
  return 0;
}

int rf_file_from_fd(struct rf_engine *engine, int fd, bool own, struct rf_file **out) {
  struct rf_file_info info;
  if (!rf_engine_alive(engine)) return -EBADF;
  int status = refuse_directory(fd);
  if (status == 0) status = rf_probe_file(fd, &info);
  if (status != 0) return status;
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  status = rf_file_make(engine, fd, own, flags & O_APPEND, &info, out);
  if (status == 0) rf_registry_add_file(engine, *out);
  return status;
}

int rf_file_open(struct rf_engine *engine, const char *path, int flags, mode_t mode,
                 struct rf_file **out) {
  if (!rf_engine_alive(engine)) return -EBADF;
  int fd = open(path, flags | O_CLOEXEC, mode);
  if (fd < 0) return -errno;
  int status = rf_file_from_fd(engine, fd, true, out);
  if (status != 0) close(fd);
  return status;
}

static bool in_use(struct rf_engine *engine, const struct rf_file *file) {
  bool used = false;
  pthread_mutex_lock(&engine->lock);
  for (struct rf_queue *queue = engine->queues; queue != NULL && !used; queue = queue->next_open)
    used = rf_queue_uses_file(queue, file);
  pthread_mutex_unlock(&engine->lock);
  return used;
}

int rf_file_close(struct rf_file *file) {
  if (file == NULL) return 0;
  if (rf_engine_alive(file->engine)) {
    if (in_use(file->engine, file)) return -EBUSY;
    rf_registry_remove_file(file->engine, file);
    count_file(file->engine, -1);
  }
  if (file->own) close(file->fd);
  free(file);
  return 0;
}

int rf_file_fd(const struct rf_file *file) {
  return file->fd;
}

const struct rf_file_info *rf_file_get_info(const struct rf_file *file) {
  return &file->info;
}
