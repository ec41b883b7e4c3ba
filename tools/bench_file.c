// SPDX-License-Identifier: Apache-2.0
/*
 * The file that bench works on: found or made, filled, and verified at the end.
 *
 * Filling and verifying go through pwrite() and pread(), not through ringfall: a judge must not be
 * the one who is judged.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "bench.h"
#include "clock.h"
#include "progress.h"
#include "stop_signals.h"

#define DEFAULT_SIZE (UINT64_C(256) << 20)
#define CHUNK        (UINT64_C(1) << 20)
#define BUFFER_ALIGN 65536u /* more than any device asks for */

/* ---- where it is ---- */

static enum tool_exit set_directory(const char *command, struct bench_file *file,
                                    const struct bench_options *options) {
  const char *where = options->directory;
  if (options->file != NULL) {
    const char *slash = strrchr(options->file, '/');
    const int length = slash != NULL ? (int)(slash - options->file + 1) : 2;
    snprintf(file->directory, sizeof(file->directory), "%.*s", length,
             slash != NULL ? options->file : "./");
    snprintf(file->path, sizeof(file->path), "%s", options->file);
    return TOOL_OK;
  }
  if (where == NULL) where = getenv("TMPDIR");
  if (where == NULL || *where == '\0') where = "/tmp";
  struct stat stat_buffer;
  if (strlen(where) > sizeof(file->directory) - 32)
    return tool_fail(command, TOOL_FAILED, "%s: %s", where, strerror(ENAMETOOLONG));
  if (stat(where, &stat_buffer) != 0)
    return tool_fail(command, TOOL_FAILED, "%s: %s", where, strerror(errno));
  if (!S_ISDIR(stat_buffer.st_mode))
    return tool_fail(command, TOOL_FAILED, "%s: is not a directory", where);
  snprintf(file->directory, sizeof(file->directory), "%s", where);
  snprintf(file->path, sizeof(file->path), "%s", where);
  return TOOL_OK;
}

/* ---- sizes ---- */

static enum tool_exit choose_new_size(const char *command, struct bench_file *file,
                                      const struct bench_options *options) {
  file->size = options->size;
  if (file->size != 0) return TOOL_OK;
  struct statvfs space;
  if (fstatvfs(file->fd, &space) != 0)
    return tool_fail(command, TOOL_FAILED, "%s: %s", file->path, strerror(errno));
  /* Half of what is free, where that is less: others write there too. */
  const uint64_t half = (uint64_t)space.f_bavail * space.f_frsize / 2;
  file->size = half < DEFAULT_SIZE ? half : DEFAULT_SIZE;
  if (file->size < options->block)
    return tool_fail(command, TOOL_FAILED, "%s: %s", file->path, strerror(ENOSPC));
  return TOOL_OK;
}

static enum tool_exit choose_old_size(const char *command, struct bench_file *file,
                                      const struct bench_options *options) {
  file->size = options->size != 0 ? options->size : file->info.size;
  if (file->size > file->info.size)
    return tool_fail(command, TOOL_USAGE, "--size: %s has only %" PRIu64 " bytes", file->path,
                     file->info.size);
  return TOOL_OK;
}

static enum tool_exit cut_to_blocks(const char *command, struct bench_file *file, uint64_t block) {
  file->block = block;
  file->blocks = file->size / block;
  file->size = file->blocks * block;
  if (file->blocks == 0)
    return tool_fail(command, TOOL_USAGE, "%s: smaller than one block of %" PRIu64 " bytes",
                     file->path, block);
  return TOOL_OK;
}

/* ---- O_DIRECT ---- */

static enum tool_exit look(const char *command, struct bench_file *file) {
  struct status_room words;
  const int status = rf_probe_file(file->fd, &file->info);
  if (status == 0) return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: %s", file->path,
                   status_words(RF_FROM_FILE, status, &words));
}

static enum tool_exit go_direct(const char *command, struct bench_file *file, uint64_t block) {
  const int flags = fcntl(file->fd, F_GETFL);
  if (!file->info.direct_possible || fcntl(file->fd, F_SETFL, flags | O_DIRECT) != 0)
    return tool_fail(command, TOOL_FAILED, "%s: %s refuses O_DIRECT", file->path,
                     file->info.file_system);
  const enum tool_exit status = look(command, file);
  if (status != TOOL_OK || block % file->info.offset_align == 0) return status;
  return tool_fail(command, TOOL_USAGE,
                   "--block %" PRIu64 ": direct I/O on this file needs a multiple of %u", block,
                   file->info.offset_align);
}

/* ---- whole passes over the file ---- */

typedef enum tool_exit chunk_function(const char *command, struct bench_file *file,
                                      struct bench_result *result, unsigned char *buffer,
                                      uint64_t offset, uint64_t length);

static enum tool_exit each_chunk(const char *command, struct bench_file *file,
                                 struct bench_result *result, const char *what,
                                 chunk_function *function) {
  void *buffer = aligned_alloc(BUFFER_ALIGN, CHUNK);
  if (buffer == NULL) return tool_fail(command, TOOL_FAILED, "no memory");
  enum tool_exit status = TOOL_OK;
  for (uint64_t done = 0; done < file->size && status == TOOL_OK;) {
    const uint64_t left = file->size - done;
    const uint64_t length = left < CHUNK ? left : CHUNK;
    status = function(command, file, result, buffer, done, length);
    done += length;
    if (status == TOOL_OK && stop_signal() != 0) status = TOOL_STOPPED;
    progress_show(what, done, file->size);
  }
  free(buffer);
  return status;
}

static enum tool_exit fill_chunk(const char *command, struct bench_file *file,
                                 struct bench_result *result, unsigned char *buffer,
                                 uint64_t offset, uint64_t length) {
  (void)result;
  struct status_room words;
  pattern_fill(&file->pattern, buffer, length, offset, 1);
  for (uint64_t done = 0; done < length;) {
    const ssize_t count = pwrite(file->fd, buffer + done, length - done, (off_t)(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0)
      return tool_fail(command, TOOL_FAILED, "%s: cannot write at offset %" PRIu64 ": %s",
                       file->path, offset + done,
                       status_words(RF_FROM_OP, count < 0 ? -errno : -EIO, &words));
    done += (uint64_t)count;
  }
  return TOOL_OK;
}

static enum tool_exit fill(const char *command, struct bench_file *file) {
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) seed = tool_now_ns();
  pattern_init(&file->pattern, seed);
  file->content = CONTENT_WRITTEN;
  /* Space for all of it now: no space is told at once, and not after minutes. */
  if (fallocate(file->fd, 0, 0, (off_t)file->size) != 0 && errno != EOPNOTSUPP && errno != ENODEV &&
      errno != ENOSYS && errno != EINTR)
    return tool_fail(command, TOOL_FAILED, "%s: no room for %" PRIu64 " bytes: %s", file->path,
                     file->size, strerror(errno));
  const enum tool_exit status = each_chunk(command, file, NULL, "making the file", fill_chunk);
  /* On the disk before the clock runs: else its being written out would slow the first backend. */
  if (status == TOOL_OK && fsync(file->fd) != 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot sync: %s", file->path, strerror(errno));
  return status;
}

static ssize_t read_whole(int fd, unsigned char *buffer, uint64_t length, uint64_t offset) {
  uint64_t done = 0;
  while (done < length) {
    const ssize_t count = pread(fd, buffer + done, length - done, (off_t)(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return -errno;
    if (count == 0) break;
    done += (uint64_t)count;
  }
  return (ssize_t)done;
}

static void report_wrong(const char *command, const struct bench_file *file,
                         struct bench_result *result, const struct pattern_fault *fault) {
  if (result->verified != VERIFIED_WRONG)
    tool_fail(command, TOOL_NOT_VERIFIED, "%s: %s: the sector at offset %" PRIu64 " %s",
              rf_backend_name(result->backend), file->path, fault->offset, fault->text);
  result->verified = VERIFIED_WRONG;
}

/* Compares pieces of one block each, for each has its version. */
static enum tool_exit verify_chunk(const char *command, struct bench_file *file,
                                   struct bench_result *result, unsigned char *buffer,
                                   uint64_t offset, uint64_t length) {
  struct status_room words;
  const ssize_t count = read_whole(file->fd, buffer, length, offset);
  if (count != (ssize_t)length)
    return tool_fail(
        command, TOOL_FAILED, "%s: cannot read back at offset %" PRIu64 ": %s", file->path, offset,
        count < 0 ? status_words(RF_FROM_OP, (int)count, &words) : "it is shorter now");
  for (uint64_t done = 0; done < length;) {
    const uint64_t at = offset + done;
    const uint64_t block_left = file->block - at % file->block;
    const uint64_t piece = block_left < length - done ? block_left : length - done;
    struct pattern_fault fault;
    if (!pattern_check(&file->pattern, buffer + done, piece, at,
                       bench_file_version(file, at / file->block), &fault)) {
      report_wrong(command, file, result, &fault);
      return TOOL_OK;
    }
    done += piece;
    result->verified_bytes += piece;
  }
  return TOOL_OK;
}

enum tool_exit bench_file_verify(const char *command, struct bench_file *file,
                                 struct bench_result *result) {
  /* From the disk and not from the page cache, where the kernel can be asked for that. */
  if (fdatasync(file->fd) != 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot sync: %s", file->path, strerror(errno));
  posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
  if (result->verified == VERIFIED_NOT) result->verified = VERIFIED_YES;
  return each_chunk(command, file, result, "verifying", verify_chunk);
}

/* ---- finding and making ---- */

/* Looks at the first, a middle and the last sector: one damaged sector must not make a file of ours
 * look like somebody else's. */
static bool find_stamp(const struct bench_file *file, uint64_t *seed) {
  unsigned char *buffer = aligned_alloc(BUFFER_ALIGN, BUFFER_ALIGN);
  const uint64_t offsets[] = {0, file->size / 2, file->size - 1};
  bool found = false;
  for (size_t i = 0; i < 3 && !found && buffer != NULL; i++) {
    const uint64_t offset = offsets[i] - offsets[i] % file->block;
    const uint64_t length = file->block < BUFFER_ALIGN ? file->block : BUFFER_ALIGN;
    found = read_whole(file->fd, buffer, length, offset) == (ssize_t)length &&
            pattern_stamped(buffer, seed);
  }
  free(buffer);
  return found;
}

static enum tool_exit open_old(const char *command, struct bench_file *file,
                               const struct bench_options *options, const struct stat *stat) {
  if (!S_ISREG(stat->st_mode) && !S_ISBLK(stat->st_mode))
    return tool_fail(command, TOOL_FAILED, "%s: is not a regular file or a block device",
                     file->path);
  if (bench_writes(options) && !options->overwrite)
    return tool_fail(command, TOOL_USAGE,
                     "%s exists: --rw %s would destroy what is in it; --overwrite allows that",
                     file->path, bench_mode_name(options->mode));
  if (options->keep && !options->overwrite)
    return tool_fail(command, TOOL_USAGE, "%s exists: --keep is for files that bench makes",
                     file->path);
  file->fd = open(file->path, (options->overwrite ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY);
  if (file->fd < 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot open: %s", file->path, strerror(errno));
  enum tool_exit status = look(command, file);
  if (status == TOOL_OK) status = choose_old_size(command, file, options);
  return status;
}

static enum tool_exit make_new(const char *command, struct bench_file *file,
                               const struct bench_options *options) {
  char path[sizeof(file->directory) + 32];
  if (options->file != NULL)
    snprintf(path, sizeof(path), "%s", options->file);
  else
    snprintf(path, sizeof(path), "%s/bench", file->directory);
  const int error = rf_new_file_open(
      &file->new_file, path, options->keep ? RF_NEW_FILE_TO_PUBLISH : RF_NEW_FILE_SCRATCH, 0600);
  if (error != 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot make a file there: %s",
                     options->file != NULL ? path : file->directory, strerror(-error));
  file->made = true;
  file->fd = file->new_file.fd;
  enum tool_exit status = choose_new_size(command, file, options);
  if (status == TOOL_OK) status = look(command, file);
  return status;
}

static enum tool_exit find_or_make(const char *command, struct bench_file *file,
                                   const struct bench_options *options) {
  struct stat old;
  if (options->file != NULL && stat(options->file, &old) == 0)
    return open_old(command, file, options, &old);
  if (options->file != NULL && errno != ENOENT)
    return tool_fail(command, TOOL_FAILED, "%s: %s", options->file, strerror(errno));
  return make_new(command, file, options);
}

static enum tool_exit make_versions(const char *command, struct bench_file *file) {
  file->versions = calloc(file->blocks, sizeof(*file->versions));
  if (file->versions == NULL)
    return tool_fail(command, TOOL_FAILED, "no memory to know %" PRIu64 " blocks apart",
                     file->blocks);
  for (uint64_t i = 0; i < file->blocks; i++) file->versions[i] = 1;
  return TOOL_OK;
}

enum tool_exit bench_file_open(const char *command, struct bench_file *file,
                               const struct bench_options *options) {
  memset(file, 0, sizeof(*file));
  file->fd = file->new_file.fd = file->new_file.directory_fd = -1;
  enum tool_exit status = set_directory(command, file, options);
  if (status == TOOL_OK) status = find_or_make(command, file, options);
  if (status == TOOL_OK) status = cut_to_blocks(command, file, options->block);
  if (status == TOOL_OK && options->direct) status = go_direct(command, file, options->block);
  if (status != TOOL_OK) return status;
  if (file->made || options->overwrite)
    status = fill(command, file);
  else
    file->content = CONTENT_FOREIGN;
  uint64_t seed;
  if (file->content == CONTENT_FOREIGN && find_stamp(file, &seed)) {
    pattern_init(&file->pattern, seed);
    file->content = CONTENT_STAMPED;
  }
  if (status == TOOL_OK && bench_writes(options)) status = make_versions(command, file);
  return status;
}

enum tool_exit bench_file_keep(const char *command, struct bench_file *file,
                               const struct bench_options *options) {
  if (!options->keep || !file->made) return TOOL_OK;
  const int status = rf_new_file_publish(&file->new_file, false);
  if (status == 0) return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: cannot be given its name: %s", file->path,
                   strerror(-status));
}

void bench_file_close(struct bench_file *file) {
  free(file->versions);
  file->versions = NULL;
  if (!file->made && file->fd >= 0) close(file->fd);
  rf_new_file_close(&file->new_file);
  file->fd = -1;
}
