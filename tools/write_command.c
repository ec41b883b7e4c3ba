// SPDX-License-Identifier: Apache-2.0
/*
 * ringfall write: what comes in goes to a file.
 *
 * With --replace the data goes to a file without a name beside FILE, as in copy; else into FILE.
 * The input is read as it comes, by plain calls: it may be a pipe.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ringfall/queue.h>

#include "arguments.h"
#include "checksum.h"
#include "clock.h"
#include "json_output.h"
#include "progress.h"
#include "source_file.h"
#include "stop_signals.h"
#include "target_file.h"
#include "transfer_choice.h"

static const char command[] = "write";

static const char usage[] =
    "Usage: ringfall write [OPTION]... FILE [IN]\n"
    "\n"
    "Writes what comes in, from the standard input or from IN, to a regular file or a block\n"
    "device, and prints one line with its SHA-256. FILE is made if there is none. Without\n"
    "--offset a regular FILE ends afterwards where the input did; with it, only that part of it\n"
    "is written over.\n"
    "\n"
    "Options:\n"
    "  --replace        all or nothing: the data goes to a new file, which takes the place of "
    "FILE\n"
    "                   in one step when it is whole (permission bits are kept); after any error\n"
    "                   or signal FILE is as it was\n"
    "  --offset SIZE    begin there, and keep the rest; any number; not with --replace\n"
    "  --sync WHAT      what is on the disk before success is reported: none (the default), data,\n"
    "                   file (data and all about the file), entry (that, and its "
    "name)\n" TRANSFER_CHOICE_HELP "  --checksum X     sha256 (the default) or none\n"
    "  --json           the result for machines\n"
    "  --help           this text\n"
    "\n"
    "Environment:\n"
    "  RINGFALL_BACKEND  the backend when --backend is not given (see ringfall --help)\n"
    "\n"
    "Exit codes:\n"
    "  0  written\n"
    "  1  failed; without --replace FILE may have a part of the data\n"
    "  2  bad usage, or RINGFALL_BACKEND makes no sense\n"
    "  3  the demanded backend does not work here\n"
    "  A signal that stops it ends it as that signal does.\n";

struct options {
  struct transfer_choice choice;
  uint64_t offset;
  bool offset_given;
  bool replace;
  enum rf_durability durability;
  bool no_checksum;
  bool json;
  bool help;
  const char *file;
  const char *in; /* NULL: the standard input */
};

struct job {
  const struct options *options;
  int in;
  int fd; /* FILE, where it is not replaced; -1: not open */
  struct target_file target;
  struct transfer_session session;
  struct checksum checksum;
  struct file_end end;
  uint64_t cursor; /* where the next byte goes */
  double seconds;
};

/* ---- the command line ---- */

static enum tool_exit parse_sync(const char *text, enum rf_durability *durability) {
  static const char *const names[] = {[RF_DURABLE_NONE] = "none",
                                      [RF_DURABLE_DATA] = "data",
                                      [RF_DURABLE_FILE] = "file",
                                      [RF_DURABLE_ENTRY] = "entry"};
  for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    if (strcmp(text, names[i]) != 0) continue;
    *durability = (enum rf_durability)i;
    return TOOL_OK;
  }
  return tool_fail(command, TOOL_USAGE, "--sync '%s': must be none, data, file or entry", text);
}

static enum tool_exit parse_option(int found, void *into) {
  struct options *options = into;
  bool taken;
  const enum tool_exit status =
      transfer_choice_parse(command, found, optarg, &options->choice, &taken);
  if (taken) return status;
  if (found == 's') return parse_sync(optarg, &options->durability);
  if (found == 'c') return argument_checksum(command, optarg, &options->no_checksum);
  options->offset_given = options->offset_given || found == 'o';
  if (found == 'o') return argument_offset(command, "--offset", optarg, &options->offset);
  options->replace = options->replace || found == 'r';
  options->json = options->json || found == 'j';
  return TOOL_OK;
}

static enum tool_exit parse(int argc, char **argv, struct options *options) {
  static const struct option longs[] = {TRANSFER_CHOICE_OPTIONS,
                                        {"offset", required_argument, NULL, 'o'},
                                        {"replace", no_argument, NULL, 'r'},
                                        {"sync", required_argument, NULL, 's'},
                                        {"checksum", required_argument, NULL, 'c'},
                                        {"json", no_argument, NULL, 'j'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};
  enum tool_exit status =
      arguments_parse(command, argc, argv, longs, parse_option, options, &options->help);
  if (status != TOOL_OK || options->help) return status;
  if (argc - optind < 1 || argc - optind > 2)
    return tool_fail(command, TOOL_USAGE,
                     "needs FILE, and IN if wanted (see ringfall write --help)");
  if (options->replace && options->offset_given)
    return tool_fail(command, TOOL_USAGE, "--replace writes all of a file: not with --offset");
  options->file = argv[optind];
  if (argc - optind == 2 && strcmp(argv[optind + 1], "-") != 0) options->in = argv[optind + 1];
  return TOOL_OK;
}

/* ---- the two ends ---- */

static const char *in_name(const struct job *job) {
  return job->options->in != NULL ? job->options->in : "standard input";
}

static enum tool_exit open_in(struct job *job) {
  job->in = STDIN_FILENO;
  if (job->options->in == NULL) return TOOL_OK;
  /* Who writes to a pipe is waited for in fill(). */
  const int waits = names_pipe(job->options->in) ? O_NONBLOCK : 0;
  job->in = open(job->options->in, O_RDONLY | O_CLOEXEC | O_NOCTTY | waits);
  if (job->in >= 0) return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: cannot open: %s", job->options->in, strerror(errno));
}

/* Input that is read where it is being written never ends. */
static enum tool_exit refuse_same(const struct job *job) {
  struct stat in, file;
  if (fstat(job->in, &in) != 0 || stat(job->options->file, &file) != 0) return TOOL_OK;
  if (in.st_dev != file.st_dev || in.st_ino != file.st_ino) return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: is the same file as the input", job->options->file);
}

static enum tool_exit open_in_place(struct job *job) {
  const char *name = job->options->file;
  struct stat stat_now;
  if (stat(name, &stat_now) == 0 && !S_ISREG(stat_now.st_mode) && !S_ISBLK(stat_now.st_mode))
    return tool_fail(command, TOOL_FAILED, "%s: %s", name, file_kind(&stat_now));
  job->fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
  if (job->fd < 0 && errno == EACCES) job->fd = open(name, O_WRONLY | O_CLOEXEC | O_NOCTTY);
  if (job->fd >= 0) return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: cannot open: %s", name, strerror(errno));
}

static enum tool_exit open_replaced(struct job *job) {
  const enum tool_exit status = target_file_open(command, &job->target, NULL, NULL);
  if (status != TOOL_OK) return status;
  const mode_t mode =
      job->target.exists ? job->target.old.st_mode & 0777 : target_file_default_mode();
  if (fchmod(job->target.new_file.fd, mode) == 0) return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: cannot prepare: %s", job->options->file,
                   strerror(errno));
}

static enum tool_exit open_file(struct job *job) {
  struct file_end *end = &job->end;
  const int fd = job->options->replace ? job->target.new_file.fd : job->fd;
  end->name = job->options->file;
  end->buffered = !job->options->choice.direct;
  end->flags = RF_TRANSFER_PREALLOCATE;
  job->cursor = job->options->offset;
  const int status = rf_file_from_fd(job->session.engine, fd, false, &end->file);
  if (status == 0) return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: cannot be used: %s", end->name,
                   status_words(RF_FROM_FILE, status, &(struct status_room){0}));
}

static enum tool_exit open_session(struct job *job) {
  char directory[PATH_MAX];
  target_file_directory(job->options->replace ? job->target.path : job->options->file, directory);
  return transfer_session_open(command, &job->options->choice, directory, &job->session);
}

/* ---- writing ---- */

/* Reads until there are so many bytes, or no more.  A signal need not wait for the other side. */
static enum tool_exit fill(const struct job *job, struct chunk *chunk) {
  uint64_t got = 0;
  while (got < chunk->length) {
    if (!stop_signal_or_ready(job->in, POLLIN)) return TOOL_STOPPED;
    const ssize_t count = read(job->in, chunk->data + got, (size_t)(chunk->length - got));
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0)
      return tool_fail(command, TOOL_FAILED, "%s: cannot read: %s", in_name(job), strerror(errno));
    if (count == 0) break;
    got += (uint64_t)count;
  }
  chunk->length = got;
  return TOOL_OK;
}

static enum tool_exit pass_on(struct job *job, bool *ended) {
  struct chunk_ring *ring = &job->session.ring;
  const uint64_t wanted = chunk_length(ring, job->cursor, INT64_MAX);
  if (wanted == 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot write at offset %" PRIu64 ": %s",
                     job->end.name, job->cursor, strerror(EFBIG));
  struct chunk *chunk = chunk_ring_take(ring, job->cursor, wanted);
  enum tool_exit status = fill(job, chunk);
  *ended = chunk->length < wanted;
  if (status == TOOL_OK) status = chunk_ring_use(ring, &chunk);
  if (status != TOOL_OK) return status;
  if (chunk->length == 0) {
    chunk_drop(chunk);
    return TOOL_OK;
  }
  job->cursor += chunk->length;
  status = chunk_write(ring, chunk, &job->end);
  if (status != TOOL_OK || job->options->no_checksum) return status;
  if (checksum_add(&job->checksum, chunk->data, (size_t)chunk->length)) return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "libcrypto cannot compute a checksum");
}

static enum tool_exit write_all(struct job *job) {
  struct chunk_ring *ring = &job->session.ring;
  struct stat in;
  const bool sized = fstat(job->in, &in) == 0 && S_ISREG(in.st_mode);
  bool ended = false;
  enum tool_exit status = TOOL_OK;
  while (status == TOOL_OK && !ended) {
    status = pass_on(job, &ended);
    if (status == TOOL_OK) status = chunk_ring_reclaim(ring, !chunk_ring_has_place(ring));
    if (sized) progress_show(command, job->cursor - job->options->offset, (uint64_t)in.st_size);
  }
  return status == TOOL_OK ? chunk_ring_drain(ring) : status;
}

/* What the file had beyond the data, if it is to end there. */
static enum tool_exit cut_tail(const struct job *job) {
  struct stat now;
  const int fd = rf_file_fd(job->end.file);
  if (job->options->offset_given || fstat(fd, &now) != 0 || !S_ISREG(now.st_mode)) return TOOL_OK;
  if ((uint64_t)now.st_size <= job->cursor || ftruncate(fd, (off_t)job->cursor) == 0)
    return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: cannot cut off what was beyond: %s", job->end.name,
                   strerror(errno));
}

/* A transfer of nothing, and what is to be durable after it.  A name is synced by path. */
static enum tool_exit sync_file(const struct job *job) {
  struct rf_transfer_request request;
  const bool named = job->options->durability == RF_DURABLE_ENTRY && !job->options->replace;
  if (job->options->durability == RF_DURABLE_NONE && !job->options->replace) return TOOL_OK;
  rf_transfer_request_init(&request);
  request.flags = 0;
  request.durability = job->options->durability;
  if (request.durability == RF_DURABLE_NONE) request.durability = RF_DURABLE_DATA;
  if (named)
    request.path = job->options->file;
  else
    request.file = job->end.file;
  const int status = rf_transfer_write_sync(job->session.pool, &request, NULL);
  if (status == 0) return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: cannot sync: %s", job->end.name,
                   status_words(RF_FROM_TRANSFER, status, &(struct status_room){0}));
}

/* ---- all of it ---- */

static enum tool_exit report(struct job *job) {
  char hex[CHECKSUM_HEX] = "not computed";
  const bool sum = !job->options->no_checksum;
  if (sum && !checksum_hex(&job->checksum, hex))
    return tool_fail(command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  const uint64_t bytes = job->cursor - job->options->offset;
  const char *backend = transfer_session_backend(&job->session);
  const double rate = (double)bytes / (1024 * 1024) / job->seconds;
  if (job->options->json)
    return json_print(command,
                      json_pack("{s:o, s:I, s:I, s:f, s:f, s:s, s:b, s:b, s:o}", "file",
                                json_text(job->end.name), "offset",
                                (json_int_t)job->options->offset, "bytes", (json_int_t)bytes,
                                "seconds", job->seconds, "mib_per_second", rate, "backend", backend,
                                "direct", job->end.direct_bytes > 0, "replaced",
                                job->options->replace, "sha256", json_text(sum ? hex : NULL)),
                      TOOL_OK);
  printf("%" PRIu64 " bytes in %.3f s, %.1f MiB/s, %s, %s, sha256 %s\n", bytes, job->seconds, rate,
         backend, job->end.direct_bytes > 0 ? "direct" : "buffered", hex);
  return tool_finish_output(command, TOOL_OK);
}

static enum tool_exit open_all(struct job *job) {
  const bool replace = job->options->replace;
  enum tool_exit status = open_in(job);
  if (status == TOOL_OK) status = refuse_same(job);
  if (status == TOOL_OK && replace) status = open_replaced(job);
  if (status == TOOL_OK) status = open_session(job);
  if (status == TOOL_OK && !replace) status = open_in_place(job);
  if (status == TOOL_OK) status = open_file(job);
  if (status == TOOL_OK && !job->options->no_checksum && !checksum_open(&job->checksum))
    status = tool_fail(command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  return status;
}

static enum tool_exit run(struct job *job) {
  progress_start();
  enum tool_exit status = open_all(job);
  const uint64_t begun = tool_now_ns();
  if (status == TOOL_OK) status = write_all(job);
  if (status == TOOL_OK) status = cut_tail(job);
  if (status == TOOL_OK) status = sync_file(job);
  if (status == TOOL_OK && stop_signal() != 0) status = TOOL_STOPPED;
  if (status == TOOL_OK && job->options->replace)
    status =
        target_file_publish(command, &job->target, job->options->durability == RF_DURABLE_ENTRY);
  job->seconds = (double)(tool_now_ns() - begun) / 1e9;
  return status;
}

static void give_back(struct job *job) {
  transfer_session_stop(&job->session);
  rf_file_close(job->end.file);
  transfer_session_close(&job->session);
  checksum_close(&job->checksum);
  target_file_close(&job->target);
  if (job->fd >= 0) close(job->fd);
  if (job->in > STDIN_FILENO) close(job->in);
}

enum tool_exit write_command(int argc, char **argv) {
  struct options options = {0};
  transfer_choice_init(&options.choice);
  enum tool_exit status = parse(argc, argv, &options);
  if (status != TOOL_OK) return status;
  if (options.help) {
    fputs(usage, stdout);
    return tool_finish_output(command, TOOL_OK);
  }
  struct job job = {.options = &options, .in = -1, .fd = -1};
  target_file_init(&job.target, options.file);
  status = run(&job);
  progress_erase();
  if (status == TOOL_OK) status = report(&job);
  give_back(&job);
  if (status != TOOL_STOPPED) return status;
  return tool_fail(command, status, "stopped; %s %s", options.file,
                   options.replace ? "is as it was" : "may have a part of the data");
}
