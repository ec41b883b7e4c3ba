// SPDX-License-Identifier: Apache-2.0
/* ringfall verify: is a file what it should be? */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "arguments.h"
#include "checksum.h"
#include "colour.h"
#include "json_output.h"
#include "progress.h"
#include "source_file.h"
#include "stop_signals.h"
#include "transfer_choice.h"

static const char command[] = "verify";

static const char usage[] =
    "Usage: ringfall verify [OPTION]... FILE --sha256 HEX\n"
    "       ringfall verify [OPTION]... FILE --against OTHER\n"
    "\n"
    "Reads a regular file or a block device, and says whether it is equal to what is expected: to\n"
    "a SHA-256, or to another file, byte for byte; where not, at which offset the first "
    "difference\n"
    "is.\n"
    "\n"
    "Options:\n"
    "  --sha256 HEX     what it should have: 64 digits\n"
    "  --against OTHER  the file that it should equal\n" TRANSFER_CHOICE_HELP
    "  --json           the result for machines\n"
    "  --help           this text\n"
    "\n"
    "Environment:\n"
    "  RINGFALL_BACKEND  the backend when --backend is not given (see ringfall --help)\n"
    "\n"
    "Exit codes, as of cmp:\n"
    "  0  equal\n"
    "  1  not equal\n"
    "  2  that could not be found out: bad usage, or a file that cannot be read\n"
    "  3  the demanded backend does not work here\n"
    "  A signal that stops it ends it as that signal does.\n";

enum { VERIFY_DIFFERS = TOOL_FAILED, VERIFY_TROUBLE = TOOL_USAGE };

struct options {
  struct transfer_choice choice;
  const char *sha256;
  const char *against;
  bool json;
  bool help;
  const char *file;
};

/* One of the files. */
struct side {
  struct source_file source;
  struct file_end end;
  uint64_t size;
};

struct job {
  const struct options *options;
  struct side sides[2];
  unsigned count; /* of them */
  struct transfer_session session;
  struct checksum checksum;
  char hex[CHECKSUM_HEX];
  bool equal;
  uint64_t differs_at; /* if not, and there is another file */
};

/* ---- the command line ---- */

static enum tool_exit parse_option(int found, void *into) {
  struct options *options = into;
  bool taken;
  const enum tool_exit status =
      transfer_choice_parse(command, found, optarg, &options->choice, &taken);
  if (taken) return status;
  if (found == 's') options->sha256 = optarg;
  if (found == 'a') options->against = optarg;
  options->json = options->json || found == 'j';
  return TOOL_OK;
}

static enum tool_exit check(const struct options *options) {
  const char *hex = options->sha256;
  if ((hex == NULL) == (options->against == NULL))
    return tool_fail(command, TOOL_USAGE,
                     "needs either --sha256 or --against (see ringfall verify --help)");
  if (hex != NULL && (strlen(hex) != 64 || strspn(hex, "0123456789abcdefABCDEF") != 64))
    return tool_fail(command, TOOL_USAGE, "--sha256 '%s': not 64 hexadecimal digits", hex);
  return TOOL_OK;
}

static enum tool_exit parse(int argc, char **argv, struct options *options) {
  static const struct option longs[] = {TRANSFER_CHOICE_OPTIONS,
                                        {"sha256", required_argument, NULL, 's'},
                                        {"against", required_argument, NULL, 'a'},
                                        {"json", no_argument, NULL, 'j'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};
  enum tool_exit status =
      arguments_parse(command, argc, argv, longs, parse_option, options, &options->help);
  if (status != TOOL_OK || options->help) return status;
  if (argc - optind != 1)
    return tool_fail(command, TOOL_USAGE, "needs one FILE (see ringfall verify --help)");
  options->file = argv[optind];
  return check(options);
}

/* ---- reading ---- */

static enum tool_exit open_side(struct job *job, const char *name) {
  struct side *side = &job->sides[job->count++];
  const enum tool_exit status = source_file_open(command, name, &side->source);
  if (status != TOOL_OK) return status;
  side->end.name = name;
  side->end.buffered = !job->options->choice.direct;
  const int error = rf_file_from_fd(job->session.engine, side->source.fd, false, &side->end.file);
  if (error != 0)
    return tool_fail(command, TOOL_FAILED, "%s: cannot be used: %s", name,
                     status_words(RF_FROM_FILE, error, &(struct status_room){0}));
  side->size = rf_file_get_info(side->end.file)->size;
  return TOOL_OK;
}

static uint64_t common_size(const struct job *job) {
  const uint64_t size = job->sides[0].size;
  return job->count == 2 && job->sides[1].size < size ? job->sides[1].size : size;
}

/* The same part of each file, one behind the other in the ring. */
static enum tool_exit read_ahead(struct job *job, uint64_t *cursor) {
  struct chunk_ring *ring = &job->session.ring;
  const uint64_t end = common_size(job);
  enum tool_exit status = TOOL_OK;
  while (*cursor < end && ring->newest - ring->oldest + job->count <= ring->count) {
    const uint64_t length = chunk_length(ring, *cursor, end);
    for (unsigned i = 0; i < job->count && status == TOOL_OK; i++)
      status = chunk_ring_read(ring, &job->sides[i].end, *cursor, length);
    if (status != TOOL_OK) return status;
    *cursor += length;
  }
  return TOOL_OK;
}

static void compare(struct job *job, const struct chunk *one, const struct chunk *other) {
  if (memcmp(one->data, other->data, one->length) == 0) return;
  uint64_t at = 0;
  while (one->data[at] == other->data[at]) at++;
  job->equal = false;
  job->differs_at = one->offset + at;
}

static enum tool_exit look(struct job *job) {
  struct chunk_ring *ring = &job->session.ring;
  struct chunk *chunks[2] = {NULL, NULL};
  for (unsigned i = 0; i < job->count; i++) {
    const enum tool_exit status = chunk_ring_use(ring, &chunks[i]);
    if (status != TOOL_OK) return status;
  }
  if (job->count == 2)
    compare(job, chunks[0], chunks[1]);
  else if (!checksum_add(&job->checksum, chunks[0]->data, chunks[0]->length))
    return tool_fail(command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  progress_show(command, chunks[0]->offset + chunks[0]->length, common_size(job));
  for (unsigned i = 0; i < job->count; i++) chunk_drop(chunks[i]);
  return chunk_ring_reclaim(ring, false);
}

static enum tool_exit read_all(struct job *job) {
  uint64_t cursor = 0;
  enum tool_exit status = read_ahead(job, &cursor);
  while (status == TOOL_OK && job->equal && chunk_ring_has_next(&job->session.ring)) {
    status = look(job);
    if (status == TOOL_OK) status = read_ahead(job, &cursor);
  }
  return status;
}

/* What is left to be said when all that both have was equal. */
static enum tool_exit conclude(struct job *job) {
  if (job->count == 2) {
    const bool same_size = job->sides[0].size == job->sides[1].size;
    if (job->equal && !same_size) job->differs_at = common_size(job);
    job->equal = job->equal && same_size;
    return TOOL_OK;
  }
  if (!checksum_hex(&job->checksum, job->hex))
    return tool_fail(command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  job->equal = strcasecmp(job->hex, job->options->sha256) == 0;
  return TOOL_OK;
}

/* ---- all of it ---- */

static enum tool_exit report_json(const struct job *job) {
  const bool offset = job->count == 2 && !job->equal;
  return json_print(command,
                    json_pack("{s:o, s:b, s:o, s:o, s:I, s:o, s:s}", "file",
                              json_text(job->options->file), "equal", job->equal, "against",
                              json_text(job->options->against), "differs_at",
                              offset ? json_integer((json_int_t)job->differs_at) : json_null(),
                              "bytes", (json_int_t)job->sides[0].size, "sha256",
                              json_text(job->count == 1 ? job->hex : NULL), "backend",
                              transfer_session_backend(&job->session)),
                    TOOL_OK);
}

static enum tool_exit report(const struct job *job) {
  const char *name = job->options->file, *other = job->options->against;
  if (job->options->json) return report_json(job);
  printf("%s%s%s: %s%s%s, ", name, job->count > 1 ? " and " : "", job->count > 1 ? other : "",
         colour_on(job->equal ? COLOUR_GOOD : COLOUR_BAD), job->equal ? "equal" : "not equal",
         colour_off());
  if (job->count == 1)
    printf("sha256 %s\n", job->hex);
  else if (job->equal)
    printf("%" PRIu64 " bytes\n", job->sides[0].size);
  else if (job->differs_at == common_size(job))
    printf("%s ends at offset %" PRIu64 "\n", job->sides[0].size == job->differs_at ? name : other,
           job->differs_at);
  else
    printf("they differ at offset %" PRIu64 "\n", job->differs_at);
  return tool_finish_output(command, TOOL_OK);
}

static enum tool_exit run(struct job *job) {
  const struct options *options = job->options;
  progress_start();
  enum tool_exit status = transfer_session_open(command, &options->choice, NULL, &job->session);
  if (status == TOOL_OK) status = open_side(job, options->file);
  if (status == TOOL_OK && options->against != NULL) status = open_side(job, options->against);
  if (status == TOOL_OK && !checksum_open(&job->checksum))
    status = tool_fail(command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  if (status == TOOL_OK) status = read_all(job);
  return status == TOOL_OK ? conclude(job) : status;
}

static void give_back(struct job *job) {
  transfer_session_stop(&job->session);
  for (unsigned i = 0; i < 2; i++) {
    rf_file_close(job->sides[i].end.file);
    source_file_close(&job->sides[i].source);
  }
  transfer_session_close(&job->session);
  checksum_close(&job->checksum);
}

enum tool_exit verify_command(int argc, char **argv) {
  struct options options = {0};
  transfer_choice_init(&options.choice);
  enum tool_exit status = parse(argc, argv, &options);
  if (status != TOOL_OK) return status;
  if (options.help) {
    fputs(usage, stdout);
    return tool_finish_output(command, TOOL_OK);
  }
  struct job job = {.options = &options,
                    .equal = true,
                    .sides = {{.source = {.fd = -1}}, {.source = {.fd = -1}}}};
  status = run(&job);
  progress_erase();
  if (status == TOOL_OK) status = report(&job);
  give_back(&job);
  if (status == TOOL_STOPPED) return tool_fail(command, status, "stopped");
  if (status == TOOL_FAILED) return (enum tool_exit)VERIFY_TROUBLE;
  return status == TOOL_OK && !job.equal ? (enum tool_exit)VERIFY_DIFFERS : status;
}
