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
#include "clock.h"
#include "copy_pipeline.h"
#include "json_output.h"
#include "progress.h"
#include "source_file.h"
#include "stop_signals.h"
#include "target_file.h"
#include "transfer_choice.h"

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
    "Options:\n" TRANSFER_CHOICE_HELP
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
  struct transfer_choice choice;
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
  struct source_file source;
  struct target_file target;
  struct transfer_session session;
  struct checksum checksum;
  struct copy_pipeline pipeline;
  double seconds;
};

/* ---- the command line ---- */

static enum tool_exit parse_option(int found, void *into) {
  struct options *options = into;
  bool taken;
  const enum tool_exit status =
      transfer_choice_parse(command, found, optarg, &options->choice, &taken);
  if (taken) return status;
  if (found == 'c') return argument_checksum(command, optarg, &options->no_checksum);
  options->sync = options->sync || found == 's';
  options->json = options->json || found == 'j';
  return TOOL_OK;
}

static enum tool_exit parse(int argc, char **argv, struct options *options) {
  static const struct option longs[] = {TRANSFER_CHOICE_OPTIONS,
                                        {"sync", no_argument, NULL, 's'},
                                        {"checksum", required_argument, NULL, 'c'},
                                        {"json", no_argument, NULL, 'j'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};
  enum tool_exit status =
      arguments_parse(command, argc, argv, longs, parse_option, options, &options->help);
  if (status != TOOL_OK || options->help) return status;
  if (argc - optind != 2)
    return tool_fail(command, TOOL_USAGE, "needs SRC and DST (see ringfall copy --help)");
  options->source = argv[optind];
  options->target = argv[optind + 1];
  return TOOL_OK;
}

/* ---- the two ends ---- */

static enum tool_exit open_source(struct job *job) {
  return source_file_open(command, job->options->source, &job->source);
}

static enum tool_exit open_target(struct job *job) {
  return target_file_open(command, &job->target, job->options->source, &job->source.stat);
}

/* The engine's probe reads and writes where the copy will. */
static enum tool_exit open_session(struct job *job) {
  char directory[PATH_MAX];
  target_file_directory(job->target.path, directory);
  return transfer_session_open(command, &job->options->choice, directory, &job->session);
}

static enum tool_exit adopt(struct job *job, struct file_end *end, const char *name, int fd) {
  end->name = name;
  end->buffered = !job->options->choice.direct;
  const int status = rf_file_from_fd(job->session.engine, fd, false, &end->file);
  if (status != 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot be used: %s", name,
                     status_words(RF_FROM_FILE, status, &(struct status_room){0}));
  return TOOL_OK;
}

static enum tool_exit open_ends(struct job *job) {
  struct copy_pipeline *p = &job->pipeline;
  enum tool_exit status = adopt(job, &p->source, job->source.name, job->source.fd);
  if (status == TOOL_OK) status = adopt(job, &p->target, job->target.name, job->target.new_file.fd);
  if (status == TOOL_OK) p->size = rf_file_get_info(p->source.file)->size;
  return status;
}

/* ---- copying ---- */

static mode_t mode_of(const struct stat *source) {
  if (S_ISREG(source->st_mode))
    return source->st_mode & 0777; /* not set-user-ID: the owner is another */
  return target_file_default_mode();
}

static enum tool_exit prepare_target(struct job *job) {
  const int fd = job->target.new_file.fd;
  if (ftruncate(fd, (off_t)job->pipeline.size) == 0 && fchmod(fd, mode_of(&job->source.stat)) == 0)
    return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: cannot prepare: %s", job->target.name,
                   strerror(errno));
}

static enum tool_exit check_unchanged(struct job *job) {
  return source_file_unchanged(command, &job->source, job->pipeline.size);
}

static enum tool_exit publish(struct job *job) {
  return target_file_publish(command, &job->target, job->options->sync);
}

static enum tool_exit move_data(struct job *job) {
  struct copy_pipeline *p = &job->pipeline;
  const bool sum = !job->options->no_checksum;
  if (sum && !checksum_open(&job->checksum))
    return tool_fail(command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  p->command = command;
  p->ring = &job->session.ring;
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
                  job->seconds, "mib_per_second", rate, "backend",
                  transfer_session_backend(&job->session), "direct_read",
                  p->source.direct_bytes > 0, "direct_write", p->target.direct_bytes > 0, "synced",
                  p->sync, "sha256", json_text(p->checksum != NULL ? hex : NULL)),
        TOOL_OK);
  printf("%" PRIu64 " bytes in %.3f s, %.1f MiB/s, %s, sha256 %s\n", p->size, job->seconds, rate,
         transfer_session_backend(&job->session), hex);
  return tool_finish_output(command, TOOL_OK);
}

static enum tool_exit copy(struct job *job) {
  const uint64_t begun = tool_now_ns();
  progress_start();
  enum tool_exit status = open_source(job);
  if (status == TOOL_OK) status = open_target(job);
  if (status == TOOL_OK) status = open_session(job);
  if (status == TOOL_OK) status = open_ends(job);
  if (status == TOOL_OK) status = prepare_target(job);
  if (status == TOOL_OK) status = move_data(job);
  if (status == TOOL_OK) status = check_unchanged(job);
  if (status == TOOL_OK) status = stop_signal() == 0 ? publish(job) : TOOL_STOPPED;
  job->seconds = (double)(tool_now_ns() - begun) / 1e9;
  return status;
}

static void give_back(struct job *job) {
  transfer_session_stop(&job->session);
  rf_file_close(job->pipeline.target.file);
  rf_file_close(job->pipeline.source.file);
  transfer_session_close(&job->session);
  checksum_close(&job->checksum);
  target_file_close(&job->target);
  source_file_close(&job->source);
}

enum tool_exit copy_command(int argc, char **argv) {
  struct options options = {0};
  transfer_choice_init(&options.choice);
  enum tool_exit status = parse(argc, argv, &options);
  if (status != TOOL_OK) return status;
  if (options.help) {
    fputs(usage, stdout);
    return tool_finish_output(command, TOOL_OK);
  }
  struct job job = {.options = &options, .source = {.fd = -1}};
  target_file_init(&job.target, options.target);
  status = copy(&job);
  progress_erase();
  if (status == TOOL_OK) status = report(&job);
  give_back(&job);
  if (status == TOOL_STOPPED)
    return tool_fail(command, status, "stopped; %s is as it was", options.target);
  return status;
}
