// SPDX-License-Identifier: Apache-2.0
/*
 * The file that tune works on: made without a name, so that it goes away however tune ends; filled
 * and checked through pwrite() and pread(): a judge must not be the one who is judged.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "clock.h"
#include "progress.h"
#include "stop_signals.h"
#include "tune.h"

static enum tool_exit fail(const struct tune *tune, const char *what, int error) {
  return tool_fail(tune_command_name, TOOL_FAILED, "%s: %s: %s", tune->options.directory, what,
                   strerror(error));
}

/* ---- making ---------------------------------------------------------------------------------- */

static enum tool_exit make(struct tune *tune) {
  char path[4096];
  struct stat stat_buffer;
  const char *directory = tune->options.directory;
  if (stat(directory, &stat_buffer) != 0)
    return tool_fail(tune_command_name, TOOL_FAILED, "%s: %s", directory, strerror(errno));
  if (!S_ISDIR(stat_buffer.st_mode))
    return tool_fail(tune_command_name, TOOL_FAILED, "%s: is not a directory", directory);
  if (snprintf(path, sizeof(path), "%s/tune", directory) >= (int)sizeof(path))
    return fail(tune, "cannot make a file there", ENAMETOOLONG);
  const int status = rf_new_file_open(&tune->file.new_file, path, RF_NEW_FILE_SCRATCH, 0600);
  return status == 0 ? TOOL_OK : fail(tune, "cannot make a file there", -status);
}

static enum tool_exit no_room(const struct tune *tune, uint64_t free_bytes) {
  struct bytes_text wanted;
  struct bytes_text there;
  return tool_fail(tune_command_name, TOOL_FAILED,
                   "%s: no room: %s are needed and %s are free (--size S takes less)",
                   tune->options.directory, bytes_name(tune->file.size, &wanted),
                   bytes_name(free_bytes, &there));
}

static enum tool_exit look_for_room(struct tune *tune, uint64_t *free_bytes) {
  struct statvfs space;
  if (fstatvfs(tune->file.new_file.fd, &space) != 0)
    return fail(tune, "cannot be looked at", errno);
  *free_bytes = (uint64_t)space.f_bavail * space.f_frsize;
  return *free_bytes < tune->file.size ? no_room(tune, *free_bytes) : TOOL_OK;
}

static enum tool_exit take_room(struct tune *tune) {
  struct tune_file *file = &tune->file;
  uint64_t free_bytes;
  const enum tool_exit status = look_for_room(tune, &free_bytes);
  if (status != TOOL_OK) return status;
  if (fallocate(file->new_file.fd, 0, 0, (off_t)file->size) == 0 || errno == EOPNOTSUPP ||
      errno == ENOSYS || errno == EINTR)
    return TOOL_OK;
  if (errno == ENOSPC) return no_room(tune, free_bytes);
  return fail(tune, "cannot make a file of that size", errno);
}

static enum tool_exit write_unit(struct tune *tune, uint64_t offset) {
  struct tune_file *file = &tune->file;
  pattern_fill(&file->pattern, file->buffer, TUNE_UNIT, offset, 1);
  for (uint64_t done = 0; done < TUNE_UNIT;) {
    const ssize_t count =
        pwrite(file->new_file.fd, file->buffer + done, TUNE_UNIT - done, (off_t)(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return fail(tune, "cannot write", count < 0 ? errno : EIO);
    done += (uint64_t)count;
  }
  return TOOL_OK;
}

/* On a slow device the file is as large as a quarter of the time allows. */
static enum tool_exit fill(struct tune *tune) {
  struct tune_file *file = &tune->file;
  const uint64_t until = tune->begun_ns + (tune->limit_ns - tune->begun_ns) / 4;
  for (uint64_t done = 0; done < file->size; done += TUNE_UNIT) {
    if (done >= TUNE_SIZE_LEAST && tool_now_ns() > until) file->size = done;
    if (done == file->size) break;
    const enum tool_exit status = write_unit(tune, done);
    if (status != TOOL_OK) return status;
    if (stop_signal() != 0) return TOOL_STOPPED;
    progress_show("making the file", done, file->size);
  }
  file->size -= file->size % TUNE_SIZE_LEAST;
  /* On the device before the clock runs: else its being written out would slow the first trials. */
  if (fsync(file->new_file.fd) != 0) return fail(tune, "cannot sync", errno);
  return TOOL_OK;
}

static enum tool_exit allocate(struct tune *tune) {
  struct tune_file *file = &tune->file;
  const uint64_t units = file->size / TUNE_UNIT;
  void *memory =
      mmap(NULL, TUNE_WINDOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  file->versions = calloc(units, sizeof(*file->versions));
  if (memory != MAP_FAILED) file->buffer = memory;
  if (file->buffer == NULL || file->versions == NULL)
    return tool_fail(tune_command_name, TOOL_FAILED, "no memory");
  for (uint64_t i = 0; i < units; i++) file->versions[i] = 1;
  file->version = 1;
  return TOOL_OK;
}

static enum tool_exit go_direct(struct tune *tune) {
  struct tune_file *file = &tune->file;
  const int fd = file->new_file.fd;
  int status = rf_probe_file(fd, &file->info);
  if (status == 0 && file->info.direct_possible && fcntl(fd, F_SETFL, O_RDWR | O_DIRECT) == 0)
    status = rf_probe_file(fd, &file->info);
  return status == 0 ? TOOL_OK : fail(tune, "cannot be looked at", -status);
}

enum tool_exit tune_file_open(struct tune *tune) {
  struct tune_file *file = &tune->file;
  uint64_t free_bytes;
  file->new_file.fd = file->new_file.directory_fd = -1;
  file->size = tune->options.size - tune->options.size % TUNE_SIZE_LEAST;
  pattern_init(&file->pattern, tune->options.seed + 1);
  const enum tool_exit status = make(tune);
  return status == TOOL_OK ? look_for_room(tune, &free_bytes) : status;
}

enum tool_exit tune_file_fill(struct tune *tune) {
  enum tool_exit status = take_room(tune);
  if (status == TOOL_OK) status = allocate(tune);
  if (status == TOOL_OK) status = fill(tune);
  if (status == TOOL_OK) status = go_direct(tune);
  return status;
}

void tune_file_close(struct tune_file *file) {
  if (file->buffer != NULL) munmap(file->buffer, TUNE_WINDOW);
  free(file->versions);
  rf_new_file_close(&file->new_file);
}

/* ---- windows --------------------------------------------------------------------------------- */

void tune_file_set_window(struct tune_file *file, double bytes) {
  const uint64_t most = file->size < TUNE_WINDOW ? file->size : TUNE_WINDOW;
  const uint64_t least = most < TUNE_WINDOW_LEAST ? most : TUNE_WINDOW_LEAST;
  uint64_t window = bytes >= (double)most ? most : (uint64_t)bytes;
  if (window < least) window = least;
  file->window = window - window % TUNE_SIZE_LEAST;
  file->next = 0;
}

uint64_t tune_file_next(struct tune_file *file) {
  if (file->next + file->window > file->size) file->next = 0;
  const uint64_t offset = file->next;
  file->next += file->window;
  return offset;
}

/* ---- checking -------------------------------------------------------------------------------- */

static enum tool_exit check_unit(struct tune *tune, uint64_t offset, uint64_t length) {
  struct tune_file *file = &tune->file;
  struct pattern_fault fault;
  for (uint64_t done = 0; done < length;) {
    const ssize_t count =
        pread(file->new_file.fd, file->buffer + done, length - done, (off_t)(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return fail(tune, "cannot read back", count < 0 ? errno : EIO);
    done += (uint64_t)count;
  }
  if (pattern_check(&file->pattern, file->buffer, length, offset,
                    file->versions[offset / TUNE_UNIT], &fault))
    return TOOL_OK;
  return tool_fail(tune_command_name, TOOL_NOT_VERIFIED,
                   "%s: after writing, the sector at offset %" PRIu64 " %s",
                   tune->options.directory, fault.offset, fault.text);
}

enum tool_exit tune_file_check(struct tune *tune, uint64_t offset, uint64_t length) {
  for (uint64_t done = 0; done < length;) {
    const uint64_t at = offset + done;
    const uint64_t in_unit = TUNE_UNIT - at % TUNE_UNIT;
    const uint64_t count = in_unit < length - done ? in_unit : length - done;
    const enum tool_exit status = check_unit(tune, at, count);
    if (status != TOOL_OK) return status;
    done += count;
  }
  return TOOL_OK;
}
