// SPDX-License-Identifier: Apache-2.0
/* ringfall bench: all backends that work, one after the other over one file, and one table. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include <ringfall/config.h>

#include "arguments.h"
#include "bench.h"
#include "progress.h"
#include "stop_signals.h"

static const char command[] = "bench";

static const char usage[] =
    "Usage: ringfall bench [OPTION]...\n"
    "\n"
    "Runs the same work through every backend that works here and prints one table. Every byte\n"
    "read is checked; after writing, the whole file is read back. Without options: 4 KiB random\n"
    "reads, 32 at a time, for 3 seconds each, in a file of 256 MiB that goes away by itself.\n"
    "\n"
    "Options:\n"
    "  --dir D        where to make the file (default: $TMPDIR, else /tmp)\n"
    "  --file F       this file or block device. One that is there is only read; one that is not "
    "is\n"
    "                 made there, and goes away at the end\n"
    "  --overwrite    allows to destroy what is in F\n"
    "  --keep         leaves a new F behind; bench knows its content again (--file F) and checks "
    "it\n"
    "  --size S       bytes of the file to work on (default: 256M, less where space is short; an\n"
    "                 old file: all of it)\n"
    "  --block B      bytes an op, a multiple of 512 (default: 4K)\n"
    "  --depth N      ops in flight, 1 to 65536 (default: 32)\n"
    "  --rw MODE      read, write (sequential), randread, randwrite, mixed (random, 7 reads to 3\n"
    "                 writes) (default: randread)\n"
    "  --config F     take backend, block and depth that are not given here from F, as ringfall "
    "tune\n"
    "                 --output writes it: those for writes with write and randwrite, else for "
    "reads\n"
    "  --direct       past the page cache (O_DIRECT)\n"
    "  --backend X    io_uring, libaio, threads, or all that work (default)\n"
    "  --seconds T    for each backend (default: 3)\n"
    "  --json         for machines\n"
    "  --help         this text\n"
    "Sizes take K, M, G and T for powers of 1024.\n"
    "\n"
    "Latency is from the acceptance of an op to its completion. IOPS include the time to make and\n"
    "check the data; CPU us/IO does not.\n"
    "\n"
    "Environment:\n"
    "  TMPDIR            where the file is made\n"
    "  RINGFALL_BACKEND  is not looked at: bench names its backends itself\n"
    "\n"
    "Exit codes:\n"
    "  0  ran, and all data that was checked is right\n"
    "  1  failed: an I/O error, no space, a directory or file that cannot be used\n"
    "  2  bad usage, or the file of --config cannot be loaded\n"
    "  3  the backend named with --backend does not work here\n"
    "  4  data came back other than it was written\n"
    "  A signal that stops it ends it as that signal does; the file goes away.\n";

/* ---- the command line ---- */

static enum tool_exit parse_mode(const char *text, enum bench_mode *mode) {
  for (int i = BENCH_READ; i <= BENCH_MIXED; i++) {
    if (strcmp(text, bench_mode_name((enum bench_mode)i)) != 0) continue;
    *mode = (enum bench_mode)i;
    return TOOL_OK;
  }
  return tool_fail(command, TOOL_USAGE,
                   "--rw '%s': must be read, write, randread, randwrite or mixed", text);
}

static enum tool_exit parse_value(int found, struct bench_options *options) {
  switch (found) {
    case 'D':
      options->directory = optarg;
      return TOOL_OK;
    case 'F':
      options->file = optarg;
      return TOOL_OK;
    case 'S':
      return argument_size(command, "--size", optarg, &options->size);
    case 'B':
      return argument_size(command, "--block", optarg, &options->block);
    case 'C':
      options->config = optarg;
      return TOOL_OK;
    case 'N':
      return argument_count(command, "--depth", optarg, 1, 65536, &options->depth);
    case 'R':
      return parse_mode(optarg, &options->mode);
    case 'X':
      return backend_choice_parse(command, optarg, true, &options->choice);
    default:
      return argument_seconds(command, "--seconds", optarg, &options->seconds);
  }
}

static enum tool_exit parse_option(int found, void *into) {
  struct bench_options *options = into;
  switch (found) {
    case 'd':
      options->direct = true;
      return TOOL_OK;
    case 'o':
      options->overwrite = true;
      return TOOL_OK;
    case 'k':
      options->keep = true;
      return TOOL_OK;
    case 'j':
      options->json = true;
      return TOOL_OK;
    default:
      return parse_value(found, options);
  }
}

/* What is not given on the command line.  A backend that the file prefers is run or refused: a
 * bench of another one would not be what was asked for. */
static void apply(const struct rf_config_direction *config, struct bench_options *options) {
  if (options->block == 0) options->block = config->pool.block_size;
  if (options->depth == 0) options->depth = config->pool.queue_depth;
  if (options->choice.wish != WISH_NONE || config->engine.choice == RF_CHOICE_AUTO) return;
  options->choice.wish = WISH_ONE;
  options->choice.backend = config->engine.backend;
}

static enum tool_exit load(struct bench_options *options) {
  struct rf_config config;
  char why[RF_CONFIG_MESSAGE];
  const int status = rf_config_load(options->config, &config, why, sizeof(why));
  if (status != 0)
    return tool_fail(command, TOOL_USAGE, "--config %s: %s%s%s", options->config, why,
                     status == -EINVAL ? "" : ": ", status == -EINVAL ? "" : strerror(-status));
  const bool writes = options->mode == BENCH_WRITE || options->mode == BENCH_RANDWRITE;
  const struct rf_config_direction *direction = writes ? &config.write : &config.read;
  if (!direction->given)
    return tool_fail(command, TOOL_USAGE, "--config %s: has nothing for %s", options->config,
                     writes ? "writes" : "reads");
  apply(direction, options);
  return TOOL_OK;
}

static void default_rest(struct bench_options *options) {
  if (options->block == 0) options->block = 4096;
  if (options->depth == 0) options->depth = 32;
  if (options->choice.wish == WISH_NONE) options->choice.wish = WISH_ALL;
}

static enum tool_exit check(const struct bench_options *options) {
  if (options->directory != NULL && options->file != NULL)
    return tool_fail(command, TOOL_USAGE, "--dir and --file exclude each other");
  if ((options->keep || options->overwrite) && options->file == NULL)
    return tool_fail(command, TOOL_USAGE, "%s goes with --file",
                     options->keep ? "--keep" : "--overwrite");
  if (options->block % PATTERN_SECTOR != 0)
    return tool_fail(command, TOOL_USAGE, "--block %llu: must be a multiple of %u",
                     (unsigned long long)options->block, PATTERN_SECTOR);
  if (options->size != 0 && options->size < options->block)
    return tool_fail(command, TOOL_USAGE, "--size %llu: smaller than one block of %llu",
                     (unsigned long long)options->size, (unsigned long long)options->block);
  return TOOL_OK;
}

static enum tool_exit parse(int argc, char **argv, struct bench_options *options) {
  static const struct option longs[] = {{"dir", required_argument, NULL, 'D'},
                                        {"file", required_argument, NULL, 'F'},
                                        {"size", required_argument, NULL, 'S'},
                                        {"block", required_argument, NULL, 'B'},
                                        {"depth", required_argument, NULL, 'N'},
                                        {"rw", required_argument, NULL, 'R'},
                                        {"config", required_argument, NULL, 'C'},
                                        {"backend", required_argument, NULL, 'X'},
                                        {"seconds", required_argument, NULL, 'T'},
                                        {"direct", no_argument, NULL, 'd'},
                                        {"overwrite", no_argument, NULL, 'o'},
                                        {"keep", no_argument, NULL, 'k'},
                                        {"json", no_argument, NULL, 'j'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};
  enum tool_exit status =
      arguments_parse(command, argc, argv, longs, parse_option, options, &options->help);
  if (status != TOOL_OK || options->help) return status;
  if (optind < argc)
    return tool_fail(command, TOOL_USAGE, "'%s' is not an option (see ringfall bench --help)",
                     argv[optind]);
  if (options->config != NULL) status = load(options);
  if (status != TOOL_OK) return status;
  default_rest(options);
  return check(options);
}

/* ---- the runs ---- */

/* "io_uring_setup: EPERM (seccomp)" */
static void refusal_in_a_few_words(const struct rf_verdict *verdict, char *text, size_t room) {
  struct errno_text name;
  if (verdict->error == 0)
    snprintf(text, room, "%s", *verdict->why ? verdict->why : rf_cause_name(verdict->cause));
  else if (*verdict->syscall == '\0')
    snprintf(text, room, "%s (%s)", errno_name(verdict->error, &name),
             rf_cause_name(verdict->cause));
  else
    snprintf(text, room, "%s: %s (%s)", verdict->syscall, errno_name(verdict->error, &name),
             rf_cause_name(verdict->cause));
}

/* The worst of the results decides: wrong data before failure. */
static enum tool_exit judge(const struct bench_result *results, unsigned count) {
  enum tool_exit status = TOOL_OK;
  for (unsigned i = 0; i < count; i++) {
    if (results[i].verified == VERIFIED_WRONG) return TOOL_NOT_VERIFIED;
    if (results[i].failed) status = TOOL_FAILED;
  }
  return status;
}

struct bench {
  struct bench_options options;
  struct bench_file file;
  struct rf_host host;
  struct bench_result results[RF_BACKENDS];
  unsigned count;
};

static bool wanted(const struct bench *bench, enum rf_backend_id backend) {
  const struct backend_choice *choice = &bench->options.choice;
  return choice->wish != WISH_ONE || choice->backend == backend;
}

static enum tool_exit run_backend(struct bench *bench, const struct rf_verdict *verdict) {
  struct bench_result *result = &bench->results[bench->count++];
  memset(result, 0, sizeof(*result));
  result->backend = verdict->backend;
  result->usable = verdict->usable;
  enum tool_exit status = TOOL_OK;
  if (verdict->usable)
    status = bench_run(command, &bench->options, &bench->file, result);
  else
    refusal_in_a_few_words(verdict, result->why, sizeof(result->why));
  progress_erase();
  if (status == TOOL_OK && !bench->options.json) bench_print_row(result);
  return status;
}

static enum tool_exit run_all(struct bench *bench) {
  for (int i = 0; i < RF_BACKENDS; i++) {
    const struct rf_verdict *verdict = &bench->host.verdicts[i];
    if (!wanted(bench, verdict->backend)) continue;
    const enum tool_exit status = run_backend(bench, verdict);
    if (status != TOOL_OK) return status;
  }
  return TOOL_OK;
}

/* A backend that was named and does not work is told before a file is made for it. */
static enum tool_exit probe(struct bench *bench) {
  const struct rf_probe_options options = {.depth = bench->options.depth};
  struct status_room words;
  const int status = rf_probe_host(&options, &bench->host);
  if (status != 0)
    return tool_fail(command, TOOL_FAILED, "cannot probe this host: %s",
                     status_words(RF_FROM_PROBE, status, &words));
  const struct backend_choice *choice = &bench->options.choice;
  const struct rf_verdict *verdict = &bench->host.verdicts[choice->backend];
  if (choice->wish != WISH_ONE || verdict->usable) return TOOL_OK;
  return tool_fail(command, TOOL_NO_BACKEND, "%s does not work here: %s%s%s",
                   rf_backend_name(choice->backend), verdict->why,
                   *verdict->remedy ? "; remedy: " : "", verdict->remedy);
}

static enum tool_exit report(struct bench *bench) {
  const enum tool_exit status = judge(bench->results, bench->count);
  if (bench->options.json)
    return bench_print_json(command, &bench->options, &bench->file, &bench->host.limits,
                            bench->results, bench->count, status);
  bench_print_footnotes(&bench->options, &bench->file, bench->results, bench->count);
  return tool_finish_output(command, status);
}

static enum tool_exit run(struct bench *bench) {
  progress_start();
  enum tool_exit status = bench_file_open(command, &bench->file, &bench->options);
  progress_erase();
  if (status != TOOL_OK) return status;
  if (!bench->options.json) bench_print_heading(&bench->options, &bench->file, &bench->host.limits);
  status = run_all(bench);
  if (status == TOOL_OK) status = bench_file_keep(command, &bench->file, &bench->options);
  if (status == TOOL_OK) status = report(bench);
  return status;
}

enum tool_exit bench_command(int argc, char **argv) {
  struct bench bench = {.options = {.mode = BENCH_RANDREAD, .seconds = 3}};
  enum tool_exit status = parse(argc, argv, &bench.options);
  if (status != TOOL_OK) return status;
  if (bench.options.help) {
    fputs(usage, stdout);
    return tool_finish_output(command, TOOL_OK);
  }
  status = probe(&bench);
  if (status != TOOL_OK) return status;
  status = run(&bench);
  bench_file_close(&bench.file);
  if (status == TOOL_STOPPED) return tool_fail(command, status, "stopped");
  return status;
}
