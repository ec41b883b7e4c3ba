// SPDX-License-Identifier: Apache-2.0
/*
 * ringfall copy: one file, byte for byte, all or nothing.
 *
 * The copy is made in a file without a name beside DST and gets that name when it is whole, checked
 * against changes of SRC, and (--sync) on the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arguments.h"
#include "backend_choice.h"
#include "clock.h"
#include "copy_pipeline.h"
#include "engine/new_file.h"
#include "json_output.h"
#include "progress.h"
#include "stop_signals.h"

static const char command[] = "copy";

static const char usage[] =
    "Usage: ringfall copy [OPTION]... SRC DST\n"
    "\n"
    "Copies a regular file or a block device to a regular file, byte for byte, and prints one "
    "line\n"
    "with its SHA-256. Holes stay holes; permission bits are kept, owners are not. DST appears, "
    "or\n"
    "is replaced, in one step when the copy is whole: after any error or signal it is as it was,\n"
    "and nothing else is left behind. Other hard links to an old DST keep the old content.\n"
    "\n"
    "Options:\n"
    "  --backend X      io_uring, libaio or threads, and no other; auto: the best that works,\n"
    "                   whatever RINGFALL_BACKEND says\n"
    "  --direct         past the page cache (O_DIRECT), but for a tail that is not aligned; where\n"
    "                   that is refused, buffered, with a note\n"
    "  --sync           the copy and its name are on the disk before success is reported\n"
    "  --checksum X     sha256 (the default) or none\n"
    "  --json           the result for machines\n"
    "  --help           this text\n"
    "\n"
    "Environment:\n"
    "  RINGFALL_BACKEND  the backend when --backend is not given (see ringfall --help)\n"
    "\n"
    "Exit codes:\n"
    "  0  copied\n"
    "  1  failed: DST is untouched (also when SRC changed while it was copied)\n"
    "  2  bad usage, or RINGFALL_BACKEND makes no sense\n"
    "  3  the demanded backend does not work here\n"
    "  A signal that stops it ends it as that signal does; DST is untouched.\n";

struct options {
  struct backend_choice choice;
  bool direct;
  bool sync;
  bool no_checksum;
  bool json;
  bool help;
  const char *source;
  const char *target;
};

/* Everything that has to be given back, in the order in which it is made. */
struct job {
  const struct options *options;
  int source_fd;
  struct stat source_stat;    /* as it was before the first read */
  char target_path[PATH_MAX]; /* DST, or what it points to if it is a symbolic link */
  struct rf_new_file target;
  struct engine_log log;
  struct rf_engine *engine;
  struct checksum checksum;
  struct copy_pipeline pipeline;
  double seconds;
};

/* ---- the command line ---- */

static enum tool_exit parse_checksum(const char *text, struct options *options) {
  options->no_checksum = strcmp(text, "none") == 0;
  if (options->no_checksum || strcmp(text, "sha256") == 0) return TOOL_OK;
  return tool_fail(command, TOOL_USAGE, "--checksum '%s': must be sha256 or none", text);
}

static enum tool_exit parse_option(int found, struct options *options) {
  switch (found) {
    case 'b':
      return backend_choice_parse(command, optarg, false, &options->choice);
    case 'c':
      return parse_checksum(optarg, options);
    case 'd':
      options->direct = true;
      break;
    case 's':
      options->sync = true;
      break;
    default:
      options->json = true;
      break;
  }
  return TOOL_OK;
}

static enum tool_exit parse(int argc, char **argv, struct options *options) {
  static const struct option longs[] = {{"backend", required_argument, NULL, 'b'},
                                        {"direct", no_argument, NULL, 'd'},
                                        {"sync", no_argument, NULL, 's'},
                                        {"checksum", required_argument, NULL, 'c'},
                                        {"json", no_argument, NULL, 'j'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};
  int found;
  opterr = 0;
  while ((found = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
    if (found == '?' || found == ':') return argument_refused(command, found, argv);
    options->help = found == 'h';
    if (options->help) return TOOL_OK;
    const enum tool_exit status = parse_option(found, options);
    if (status != TOOL_OK) return status;
  }
  if (argc - optind != 2)
    return tool_fail(command, TOOL_USAGE, "needs SRC and DST (see ringfall copy --help)");
  options->source = argv[optind];
  options->target = argv[optind + 1];
  return TOOL_OK;
}

/* ---- the two ends ---- */

static const char *kind_of(const struct stat *stat) {
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

static enum tool_exit open_source(struct job *job) {
  const char *name = job->options->source;
  /* Asked before it is opened: opening a pipe or a device can have effects. */
  if (stat(name, &job->source_stat) != 0)
    return tool_fail(command, TOOL_FAILED, "%s: %s", name, strerror(errno));
  if (!S_ISREG(job->source_stat.st_mode) && !S_ISBLK(job->source_stat.st_mode))
    return tool_fail(command, TOOL_FAILED, "%s: %s", name, kind_of(&job->source_stat));
  job->source_fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (job->source_fd < 0 || fstat(job->source_fd, &job->source_stat) != 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot open: %s", name, strerror(errno));
  return TOOL_OK;
}

/* Finds the name to replace: a symbolic link is followed, as cp(1) does. */
static enum tool_exit resolve_target(struct job *job) {
  const char *name = job->options->target;
  struct stat target;
  if (lstat(name, &target) != 0 && errno != ENOENT)
    return tool_fail(command, TOOL_FAILED, "%s: %s", name, strerror(errno));
  if (stat(name, &target) == 0) {
    if (target.st_dev == job->source_stat.st_dev && target.st_ino == job->source_stat.st_ino)
      return tool_fail(command, TOOL_FAILED, "%s: is the same file as %s", name,
                       job->options->source);
    if (!S_ISREG(target.st_mode))
      return tool_fail(command, TOOL_FAILED, "%s: %s", name, kind_of(&target));
  }
  const bool link = lstat(name, &target) == 0 && S_ISLNK(target.st_mode);
  if (link && realpath(name, job->target_path) == NULL)
    return tool_fail(command, TOOL_FAILED, "%s: a symbolic link to nothing", name);
  if (!link && strlen(name) >= sizeof(job->target_path))
    return tool_fail(command, TOOL_FAILED, "%s: %s", name, strerror(ENAMETOOLONG));
  if (!link) strcpy(job->target_path, name);
  return TOOL_OK;
}

static enum tool_exit open_target(struct job *job) {
  enum tool_exit status = resolve_target(job);
  if (status != TOOL_OK) return status;
  const int error = rf_new_file_open(&job->target, job->target_path, RF_NEW_FILE_TO_PUBLISH, 0600);
  if (error != 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot make a file there: %s", job->options->target,
                     strerror(-error));
  return TOOL_OK;
}

/* The engine's probe reads and writes where the copy will. */
static enum tool_exit open_engine(struct job *job) {
  char directory[PATH_MAX];
  const char *slash = strrchr(job->target_path, '/');
  if (slash == NULL)
    strcpy(directory, ".");
  else
    snprintf(directory, sizeof(directory), "%.*s", (int)(slash - job->target_path + 1),
             job->target_path);
  return backend_choice_open(command, &job->options->choice, directory, 0, &job->log, &job->engine);
}

/* The same file once more, with O_DIRECT.  Through /proc, for the target has no name. */
static void open_direct(struct job *job, struct copy_end *end, int flags, uint64_t *align) {
  char path[40];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", rf_file_fd(end->file));
  int status = -EINVAL;
  if (rf_file_get_info(end->file)->direct_possible)
    status = rf_file_open(job->engine, path, flags | O_DIRECT, 0, &end->direct);
  if (status != 0) {
    tool_note(command, "%s: %s refuses O_DIRECT; going through the page cache", end->name,
              rf_file_get_info(end->file)->file_system);
    return;
  }
  const struct rf_file_info *info = rf_file_get_info(end->direct);
  if (info->offset_align > *align) *align = info->offset_align;
}

static enum tool_exit adopt(struct job *job, struct copy_end *end, const char *name, int fd) {
  end->name = name;
  const int status = rf_file_from_fd(job->engine, fd, false, &end->file);
  if (status != 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot be used: %s", name, strerror(-status));
  return TOOL_OK;
}

static enum tool_exit open_ends(struct job *job) {
  const struct options *options = job->options;
  struct copy_pipeline *p = &job->pipeline;
  enum tool_exit status = adopt(job, &p->source, options->source, job->source_fd);
  if (status == TOOL_OK) status = adopt(job, &p->target, options->target, job->target.fd);
  if (status != TOOL_OK) return status;
  p->size = rf_file_get_info(p->source.file)->size;
  p->align = 1;
  uint64_t align = 4096; /* a page at least: the tail must not share one with direct I/O */
  if (options->direct) {
    open_direct(job, &p->source, O_RDONLY, &align);
    open_direct(job, &p->target, O_RDWR, &align);
  }
  if (p->source.direct != NULL || p->target.direct != NULL) p->align = align;
  return TOOL_OK;
}

/* ---- copying ---- */

static mode_t mode_of(const struct stat *source) {
  if (S_ISREG(source->st_mode))
    return source->st_mode & 0777; /* not set-user-ID: the owner is another */
  const mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

static enum tool_exit prepare_target(const struct job *job) {
  const int fd = job->target.fd;
  if (ftruncate(fd, (off_t)job->pipeline.size) == 0 && fchmod(fd, mode_of(&job->source_stat)) == 0)
    return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: cannot prepare: %s", job->options->target,
                   strerror(errno));
}

/* A copy of a file that was being written is neither its old nor its new content. */
static enum tool_exit check_unchanged(const struct job *job) {
  const struct stat *before = &job->source_stat;
  const char *name = job->options->source;
  struct stat now;
  if (fstat(job->source_fd, &now) != 0)
    return tool_fail(command, TOOL_FAILED, "%s: %s", name, strerror(errno));
  if (!S_ISREG(now.st_mode)) return TOOL_OK;
  if (now.st_size != before->st_size || (uint64_t)now.st_size != job->pipeline.size)
    return tool_fail(command, TOOL_FAILED, "%s: became %s while it was copied", name,
                     now.st_size < before->st_size ? "shorter" : "longer");
  if (now.st_mtim.tv_sec != before->st_mtim.tv_sec ||
      now.st_mtim.tv_nsec != before->st_mtim.tv_nsec)
    return tool_fail(command, TOOL_FAILED, "%s: was written to while it was copied", name);
  return TOOL_OK;
}

static enum tool_exit publish(struct job *job) {
  const char *name = job->options->target;
  int status = rf_new_file_publish(&job->target, true);
  if (status != 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot be given its name: %s", name,
                     strerror(-status));
  status = job->options->sync ? rf_new_file_sync_directory(&job->target) : 0;
  if (status != 0)
    return tool_fail(command, TOOL_FAILED, "%s: is there, but its directory cannot be synced: %s",
                     name, strerror(-status));
  return TOOL_OK;
}

static enum tool_exit move_data(struct job *job) {
  struct copy_pipeline *p = &job->pipeline;
  const bool sum = !job->options->no_checksum;
  if (sum && !checksum_open(&job->checksum))
    return tool_fail(command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  p->command = command;
  p->engine = job->engine;
  p->sync = job->options->sync;
  p->checksum = sum ? &job->checksum : NULL;
  return copy_pipeline_run(p);
}

static enum tool_exit report(struct job *job) {
  const struct copy_pipeline *p = &job->pipeline;
  char hex[CHECKSUM_HEX] = "not computed";
  if (p->checksum != NULL && !checksum_hex(p->checksum, hex))
    return tool_fail(command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  const double rate = (double)p->size / (1024 * 1024) / job->seconds;
  if (job->options->json)
    return json_print(
        command,
        json_pack("{s:o, s:o, s:I, s:I, s:f, s:f, s:s, s:b, s:b, s:b, s:o}", "source",
                  json_text(p->source.name), "destination", json_text(p->target.name), "bytes",
                  (json_int_t)p->size, "data_bytes", (json_int_t)p->data_bytes, "seconds",
                  job->seconds, "mib_per_second", rate, "backend", rf_backend_name(p->backend),
                  "direct_read", p->source.direct != NULL, "direct_write", p->target.direct != NULL,
                  "synced", p->sync, "sha256", json_text(p->checksum != NULL ? hex : NULL)),
        TOOL_OK);
  printf("%" PRIu64 " bytes in %.3f s, %.1f MiB/s, %s, sha256 %s\n", p->size, job->seconds, rate,
         rf_backend_name(p->backend), hex);
  return tool_finish_output(command, TOOL_OK);
}

static enum tool_exit copy(struct job *job) {
  const uint64_t begun = tool_now_ns();
  progress_start();
  enum tool_exit status = open_source(job);
  if (status == TOOL_OK) status = open_target(job);
  if (status == TOOL_OK) status = open_engine(job);
  if (status == TOOL_OK) status = open_ends(job);
  if (status == TOOL_OK) status = prepare_target(job);
  if (status == TOOL_OK) status = move_data(job);
  if (status == TOOL_OK) status = check_unchanged(job);
  if (status == TOOL_OK) status = stop_signal() == 0 ? publish(job) : TOOL_STOPPED;
  job->seconds = (double)(tool_now_ns() - begun) / 1e9;
  return status;
}

static void give_back(struct job *job) {
  struct copy_pipeline *p = &job->pipeline;
  rf_file_close(p->target.direct);
  rf_file_close(p->target.file);
  rf_file_close(p->source.direct);
  rf_file_close(p->source.file);
  rf_engine_close(job->engine);
  checksum_close(&job->checksum);
  rf_new_file_close(&job->target);
  if (job->source_fd >= 0) close(job->source_fd);
}

enum tool_exit copy_command(int argc, char **argv) {
  struct options options = {0};
  enum tool_exit status = parse(argc, argv, &options);
  if (status != TOOL_OK) return status;
  if (options.help) {
    fputs(usage, stdout);
    return tool_finish_output(command, TOOL_OK);
  }
  struct job job = {.options = &options, .source_fd = -1, .target = {.fd = -1, .directory_fd = -1}};
  status = copy(&job);
  progress_erase();
  if (status == TOOL_OK) status = report(&job);
  give_back(&job);
  if (status == TOOL_STOPPED)
    return tool_fail(command, status, "stopped; %s is as it was", options.target);
  return status;
}
