// SPDX-License-Identifier: Apache-2.0
/* ringfall read: a file, or a part of it, as fast as it can be read: measured, or passed on. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "checksum.h"
#include "clock.h"
#include "json_output.h"
#include "progress.h"
#include "source_file.h"
#include "stop_signals.h"
#include "transfer_choice.h"

static const char command[] = "read";

static const char usage[] =
    "Usage: ringfall read [OPTION]... FILE [OUT]\n"
    "\n"
    "Reads a regular file or a block device, or a part of it, and prints one line with the\n"
    "throughput and the SHA-256 of what was read. Without OUT the data goes nowhere: it is only\n"
    "read, measured and summed up. With OUT it is written there in order: - is the standard\n"
    "output (the line then goes to the standard error), anything else a file that is made, or\n"
    "emptied, as a shell's > does. (For a copy that is all or nothing see ringfall copy.)\n"
    "\n"
    "Options:\n"
    "  --offset SIZE    begin there (default 0); any number\n"
    "  --length SIZE    read so much at most (default: up to the end)\n" TRANSFER_CHOICE_HELP
    "  --checksum X     sha256 (the default) or none: computing it may take longer than reading\n"
    "  --json           the result for machines\n"
    "  --help           this text\n"
    "\n"
    "Environment:\n"
    "  RINGFALL_BACKEND  the backend when --backend is not given (see ringfall --help)\n"
    "\n"
    "Exit codes:\n"
    "  0  read (and passed on)\n"
    "  1  failed; OUT has what could be read before\n"
    "  2  bad usage, or RINGFALL_BACKEND makes no sense\n"
    "  3  the demanded backend does not work here\n"
    "  A signal that stops it ends it as that signal does.\n";

struct options {
  struct transfer_choice choice;
  uint64_t offset, length;
  bool no_checksum;
  bool json;
  bool help;
  const char *file;
  const char *out; /* NULL: nowhere */
};

struct job {
  const struct options *options;
  struct source_file source;
  int out; /* -1: nowhere */
  struct transfer_session session;
  struct checksum checksum;
  struct file_end end;
  uint64_t from, to; /* the part that is read */
  uint64_t done;     /* bytes that were passed on */
  double seconds;
};

/* ---- the command line ---- */

static enum tool_exit parse_option(int found, void *into) {
  struct options *options = into;
  bool taken;
  const enum tool_exit status =
      transfer_choice_parse(command, found, optarg, &options->choice, &taken);
  if (taken) return status;
  if (found == 'o') return argument_offset(command, "--offset", optarg, &options->offset);
  if (found == 'l') return argument_size(command, "--length", optarg, &options->length);
  if (found == 'c') return argument_checksum(command, optarg, &options->no_checksum);
  options->json = options->json || found == 'j';
  return TOOL_OK;
}

static enum tool_exit parse(int argc, char **argv, struct options *options) {
  static const struct option longs[] = {TRANSFER_CHOICE_OPTIONS,
                                        {"offset", required_argument, NULL, 'o'},
                                        {"length", required_argument, NULL, 'l'},
                                        {"checksum", required_argument, NULL, 'c'},
                                        {"json", no_argument, NULL, 'j'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};
  enum tool_exit status =
      arguments_parse(command, argc, argv, longs, parse_option, options, &options->help);
  if (status != TOOL_OK || options->help) return status;
  if (argc - optind < 1 || argc - optind > 2)
    return tool_fail(command, TOOL_USAGE,
                     "needs FILE, and OUT if wanted (see ringfall read --help)");
  options->file = argv[optind];
  options->out = argc - optind == 2 ? argv[optind + 1] : NULL;
  return TOOL_OK;
}

static bool to_stdout(const struct options *options) {
  return options->out != NULL && strcmp(options->out, "-") == 0;
}

/* ---- passing on ---- */

/* Waits for a pipe's reader by itself. */
static enum tool_exit open_out(struct job *job) {
  const struct options *options = job->options;
  if (options->out == NULL) return TOOL_OK;
  const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY;
  job->out = to_stdout(options) ? STDOUT_FILENO : -1;
  while (job->out < 0) {
    const bool waits = names_pipe(options->out);
    job->out = open(options->out, flags | (waits ? O_NONBLOCK : 0), 0666);
    if (job->out >= 0 || !waits || errno != ENXIO) break;
    if (stop_signal() != 0) return TOOL_STOPPED;
    (void)poll(NULL, 0, 50);
  }
  if (job->out >= 0) return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: cannot open: %s", options->out, strerror(errno));
}

/* Is it the file itself?  Opening would have emptied it. */
static enum tool_exit refuse_same(const struct job *job) {
  struct stat out;
  const struct options *options = job->options;
  if (options->out == NULL) return TOOL_OK;
  const int error = to_stdout(options) ? fstat(STDOUT_FILENO, &out) : stat(options->out, &out);
  if (error != 0 || out.st_dev != job->source.stat.st_dev || out.st_ino != job->source.stat.st_ino)
    return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "%s: is the same file as %s", options->out, options->file);
}

/* A little at a time, and only when there is room: a signal must not have to wait for a reader. */
static enum tool_exit write_out(const struct job *job, const unsigned char *data, uint64_t length) {
  const size_t most = (size_t)64 << 10;
  while (length > 0) {
    if (!stop_signal_or_ready(job->out, POLLOUT)) return TOOL_STOPPED;
    const ssize_t count = write(job->out, data, length < most ? (size_t)length : most);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0)
      return tool_fail(command, TOOL_FAILED, "%s: cannot write: %s", job->options->out,
                       strerror(errno));
    data += count;
    length -= (uint64_t)count;
  }
  return TOOL_OK;
}

/* ---- reading ---- */

static enum tool_exit open_file(struct job *job) {
  job->end.name = job->options->file;
  job->end.buffered = !job->options->choice.direct;
  const int status = rf_file_from_fd(job->session.engine, job->source.fd, false, &job->end.file);
  if (status != 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot be used: %s", job->end.name,
                     status_words(RF_FROM_FILE, status, &(struct status_room){0}));
  const uint64_t size = rf_file_get_info(job->end.file)->size;
  job->from = job->options->offset;
  if (job->from > size)
    return tool_fail(command, TOOL_FAILED, "%s: ends at %" PRIu64 ", before offset %" PRIu64,
                     job->end.name, size, job->from);
  job->to = job->options->length < size - job->from ? job->from + job->options->length : size;
  return TOOL_OK;
}

static enum tool_exit pass_on(struct job *job) {
  struct chunk_ring *ring = &job->session.ring;
  struct chunk *chunk;
  enum tool_exit status = chunk_ring_use(ring, &chunk);
  if (status != TOOL_OK) return status;
  if (!job->options->no_checksum && !checksum_add(&job->checksum, chunk->data, chunk->length))
    return tool_fail(command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  if (job->out >= 0) status = write_out(job, chunk->data, chunk->length);
  job->done += chunk->length;
  chunk_drop(chunk);
  progress_show(command, job->done, job->to - job->from);
  return status == TOOL_OK ? chunk_ring_reclaim(ring, false) : status;
}

static enum tool_exit read_all(struct job *job) {
  struct chunk_ring *ring = &job->session.ring;
  uint64_t cursor = job->from;
  enum tool_exit status = TOOL_OK;
  while (status == TOOL_OK && (cursor < job->to || chunk_ring_has_next(ring))) {
    while (status == TOOL_OK && cursor < job->to && chunk_ring_has_place(ring)) {
      const uint64_t length = chunk_length(ring, cursor, job->to);
      status = chunk_ring_read(ring, &job->end, cursor, length);
      cursor += length;
    }
    if (status == TOOL_OK) status = pass_on(job);
  }
  return status;
}

/* ---- all of it ---- */

static enum tool_exit report(struct job *job) {
  FILE *to = to_stdout(job->options) ? stderr : stdout;
  char hex[CHECKSUM_HEX] = "not computed";
  const bool sum = !job->options->no_checksum;
  if (sum && !checksum_hex(&job->checksum, hex))
    return tool_fail(command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  const char *backend = transfer_session_backend(&job->session);
  const double rate = (double)job->done / (1024 * 1024) / job->seconds;
  if (job->options->json)
    return json_print_to(
        command, to,
        json_pack("{s:o, s:I, s:I, s:f, s:f, s:s, s:b, s:o}", "file", json_text(job->end.name),
                  "offset", (json_int_t)job->from, "bytes", (json_int_t)job->done, "seconds",
                  job->seconds, "mib_per_second", rate, "backend", backend, "direct",
                  job->end.direct_bytes > 0, "sha256", json_text(sum ? hex : NULL)),
        TOOL_OK);
  fprintf(to, "%" PRIu64 " bytes in %.3f s, %.1f MiB/s, %s, %s, sha256 %s\n", job->done,
          job->seconds, rate, backend, job->end.direct_bytes > 0 ? "direct" : "buffered", hex);
  return tool_finish_output(command, TOOL_OK);
}

static enum tool_exit run(struct job *job) {
  progress_start();
  enum tool_exit status = source_file_open(command, job->options->file, &job->source);
  if (status == TOOL_OK)
    status = transfer_session_open(command, &job->options->choice, NULL, &job->session);
  if (status == TOOL_OK) status = open_file(job);
  if (status == TOOL_OK) status = refuse_same(job);
  if (status == TOOL_OK) status = open_out(job);
  if (status == TOOL_OK && !job->options->no_checksum && !checksum_open(&job->checksum))
    status = tool_fail(command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  const uint64_t begun = tool_now_ns();
  if (status == TOOL_OK) status = read_all(job);
  job->seconds = (double)(tool_now_ns() - begun) / 1e9;
  return status;
}

static enum tool_exit close_out(struct job *job, enum tool_exit status) {
  if (job->out < 0 || job->out == STDOUT_FILENO) return status;
  if (close(job->out) == 0 || status != TOOL_OK) return status;
  return tool_fail(command, TOOL_FAILED, "%s: cannot write: %s", job->options->out,
                   strerror(errno));
}

enum tool_exit read_command(int argc, char **argv) {
  struct options options = {.length = UINT64_MAX};
  transfer_choice_init(&options.choice);
  enum tool_exit status = parse(argc, argv, &options);
  if (status != TOOL_OK) return status;
  if (options.help) {
    fputs(usage, stdout);
    return tool_finish_output(command, TOOL_OK);
  }
  struct job job = {.options = &options, .source = {.fd = -1}, .out = -1};
  status = close_out(&job, run(&job));
  progress_erase();
  if (status == TOOL_OK) status = report(&job);
  transfer_session_stop(&job.session);
  rf_file_close(job.end.file);
  transfer_session_close(&job.session);
  checksum_close(&job.checksum);
  source_file_close(&job.source);
  return status == TOOL_STOPPED ? tool_fail(command, status, "stopped") : status;
}
