// SPDX-License-Identifier: Apache-2.0
/* ringfall tune: which backend and which pool options are fastest in a directory. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arguments.h"
#include "clock.h"
#include "progress.h"
#include "stop_signals.h"
#include "tune.h"

const char tune_command_name[] = "tune";

static const char usage[] =
    "Usage: ringfall tune [OPTION]... [DIR]\n"
    "\n"
    "Finds the backend and the pool options with which transfers in DIR (default: $TMPDIR, else\n"
    "/tmp) are fastest: block size, queue depth, workers, and how blocks are submitted. Real\n"
    "transfers move a file of its own, which has no name and goes away however tune ends. Many\n"
    "settings are tried shortly, the better half of them longer, and so on; the best two and the\n"
    "defaults are then compared in alternation. All data that is read is compared; of what is\n"
    "written a sample after each trial, and all at the end.\n"
    "\n"
    "Options:\n"
    "  --size S           bytes of the file, at least 4M (default: 256M). On a slow disk it is "
    "what\n"
    "                     can be written in a quarter of the time\n"
    "  --time T           seconds for all of it (default: 60)\n"
    "  --direction D      read, write or both (default)\n"
    "  --backend X        io_uring, libaio, threads, or all that work (default)\n"
    "  --seed N           of the settings that are drawn (default: another one each time)\n"
    "  --output FILE      write the configuration there: rf_config_load() and ringfall bench\n"
    "                     --config take it\n"
    "  --deepspeed FILE   write DeepSpeed's aio section there, - for standard output instead of\n"
    "                     the table. It is for libaio, which DeepSpeed uses, and for reading and\n"
    "                     writing alike\n"
    "  --report FILE      write a page with charts there, for a browser\n"
    "  --json             for machines, instead of the table\n"
    "  --help             this text\n"
    "Sizes take K, M, G and T for powers of 1024. Old files are replaced as a whole.\n"
    "\n"
    "In the table: least and most are of all trials of a setting; p99 is the time that 99 of 100\n"
    "blocks took at most, from their submission; CPU is that of the whole process.\n"
    "\n"
    "Environment:\n"
    "  TMPDIR            where the file is made\n"
    "  RINGFALL_BACKEND  is not looked at: tune tries the backends itself\n"
    "\n"
    "Exit codes:\n"
    "  0  all went well\n"
    "  1  failed: an I/O error, no space, a directory or file that cannot be used\n"
    "  2  bad usage\n"
    "  3  the backend named with --backend does not work here\n"
    "  4  data came back other than it was written\n"
    "  A signal that stops it ends it as that signal does; nothing is written then.\n";

/* ---- the command line ------------------------------------------------------------------------ */

static enum tool_exit parse_direction(const char *text, struct tune_options *options) {
  const bool both = strcmp(text, "both") == 0;
  for (int side = 0; side < TUNE_SIDES; side++)
    options->sides[side] = both || strcmp(text, tune_side_name((enum tune_side)side)) == 0;
  if (options->sides[TUNE_READ] || options->sides[TUNE_WRITE]) return TOOL_OK;
  return tool_fail(tune_command_name, TOOL_USAGE, "--direction '%s': must be read, write or both",
                   text);
}

static enum tool_exit parse_seed(const char *text, uint64_t *seed) {
  unsigned number;
  const enum tool_exit status =
      argument_count(tune_command_name, "--seed", text, 0, INT32_MAX, &number);
  if (status == TOOL_OK) *seed = number;
  return status;
}

static enum tool_exit parse_option(int found, void *into) {
  struct tune_options *options = into;
  switch (found) {
    case 'S':
      return argument_size(tune_command_name, "--size", optarg, &options->size);
    case 'T':
      return argument_seconds(tune_command_name, "--time", optarg, &options->seconds);
    case 'D':
      return parse_direction(optarg, options);
    case 'X':
      return backend_choice_parse(tune_command_name, optarg, true, &options->choice);
    case 'N':
      return parse_seed(optarg, &options->seed);
    case 'O':
      options->output = optarg;
      return TOOL_OK;
    case 'A':
      options->deepspeed = optarg;
      return TOOL_OK;
    case 'R':
      options->report = optarg;
      return TOOL_OK;
    default:
      options->json = true;
      return TOOL_OK;
  }
}

static bool is(const char *one, const char *other) {
  return one != NULL && other != NULL && strcmp(one, other) == 0;
}

/* Three files, each of its own. */
static enum tool_exit check_outputs(const struct tune_options *options) {
  const char *output = options->output, *deepspeed = options->deepspeed, *report = options->report;
  if (is(output, "-"))
    return tool_fail(tune_command_name, TOOL_USAGE,
                     "--output -: must be a file (--json has the configuration, too)");
  if (is(report, "-"))
    return tool_fail(tune_command_name, TOOL_USAGE, "--report -: must be a file");
  if (is(deepspeed, "-") && options->json)
    return tool_fail(tune_command_name, TOOL_USAGE, "--deepspeed - and --json exclude each other");
  if (is(output, deepspeed) || is(output, report) || is(deepspeed, report))
    return tool_fail(tune_command_name, TOOL_USAGE, "%s: one file cannot be written twice",
                     is(output, deepspeed) || is(output, report) ? output : report);
  return TOOL_OK;
}

static enum tool_exit check(const struct tune_options *options) {
  if (options->size < TUNE_SIZE_LEAST)
    return tool_fail(tune_command_name, TOOL_USAGE, "--size %llu: must be at least %llu",
                     (unsigned long long)options->size, (unsigned long long)TUNE_SIZE_LEAST);
  return check_outputs(options);
}

static enum tool_exit parse(int argc, char **argv, struct tune_options *options) {
  static const struct option longs[] = {{"size", required_argument, NULL, 'S'},
                                        {"time", required_argument, NULL, 'T'},
                                        {"direction", required_argument, NULL, 'D'},
                                        {"backend", required_argument, NULL, 'X'},
                                        {"seed", required_argument, NULL, 'N'},
                                        {"output", required_argument, NULL, 'O'},
                                        {"deepspeed", required_argument, NULL, 'A'},
                                        {"report", required_argument, NULL, 'R'},
                                        {"json", no_argument, NULL, 'j'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};
  enum tool_exit status =
      arguments_parse(tune_command_name, argc, argv, longs, parse_option, options, &options->help);
  if (status != TOOL_OK || options->help) return status;
  if (argc - optind > 1)
    return tool_fail(tune_command_name, TOOL_USAGE, "'%s': one directory is enough",
                     argv[optind + 1]);
  options->directory = optind < argc ? argv[optind] : getenv("TMPDIR");
  if (options->directory == NULL || *options->directory == '\0') options->directory = "/tmp";
  return check(options);
}

/* ---- files for the answers ------------------------------------------------------------------- */

/* Opened before anything is measured: that it cannot be written is not to be told after a minute.
 */
struct output {
  const char *path; /* NULL: not wanted */
  struct rf_new_file file;
};

static enum tool_exit output_open(struct output *output, const char *path) {
  char resolved[PATH_MAX];
  struct stat old;
  output->file.fd = output->file.directory_fd = -1;
  if (path == NULL || is(path, "-")) return TOOL_OK;
  const bool exists = stat(path, &old) == 0;
  if (exists && !S_ISREG(old.st_mode))
    return tool_fail(tune_command_name, TOOL_FAILED, "%s: is not a regular file", path);
  if (!exists && lstat(path, &old) == 0)
    return tool_fail(tune_command_name, TOOL_FAILED, "%s: a symbolic link to nothing", path);
  /* What a symbolic link names is replaced, not the link. */
  const char *target = exists && realpath(path, resolved) != NULL ? resolved : path;
  const int status = rf_new_file_open(&output->file, target, RF_NEW_FILE_TO_PUBLISH, 0666);
  if (status != 0)
    return tool_fail(tune_command_name, TOOL_FAILED, "%s: cannot be written: %s", path,
                     strerror(-status));
  output->path = path;
  return TOOL_OK;
}

static int put_text(int fd, const char *text) {
  const size_t length = strlen(text);
  for (size_t done = 0; done < length;) {
    const ssize_t count = write(fd, text + done, length - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? -errno : -EIO;
    done += (size_t)count;
  }
  return 0;
}

/* Frees the text. */
static enum tool_exit output_write(struct output *output, char *text) {
  if (output->path == NULL) {
    free(text);
    return TOOL_OK;
  }
  int status = text == NULL ? -ENOMEM : put_text(output->file.fd, text);
  if (status == 0 && fsync(output->file.fd) != 0) status = -errno;
  if (status == 0) status = rf_new_file_publish(&output->file, true);
  free(text);
  if (status == 0) return TOOL_OK;
  return tool_fail(tune_command_name, TOOL_FAILED, "%s: cannot be written: %s", output->path,
                   strerror(-status));
}

struct outputs {
  struct output config;
  struct output deepspeed;
  struct output report;
};

static void outputs_close(struct outputs *outputs) {
  rf_new_file_close(&outputs->config.file);
  rf_new_file_close(&outputs->deepspeed.file);
  rf_new_file_close(&outputs->report.file);
}

static enum tool_exit outputs_open(struct outputs *outputs, const struct tune_options *options) {
  const enum tool_exit config = output_open(&outputs->config, options->output);
  const enum tool_exit deepspeed = output_open(&outputs->deepspeed, options->deepspeed);
  const enum tool_exit report = output_open(&outputs->report, options->report);
  return config != TOOL_OK ? config : deepspeed != TOOL_OK ? deepspeed : report;
}

/* ---- answering ------------------------------------------------------------------------------- */

static char *page_text(const struct tune *tune, const struct tune_answers *answers) {
  char *text = NULL;
  size_t size = 0;
  FILE *page = open_memstream(&text, &size);
  if (page == NULL) return NULL;
  tune_print_page(page, tune, answers);
  if (fclose(page) == 0) return text;
  free(text);
  return NULL;
}

static enum tool_exit print(const struct tune *tune, const struct tune_answers *answers) {
  if (tune->options.json) return tune_print_json(tune, answers);
  if (!is(tune->options.deepspeed, "-")) {
    tune_print_table(tune, answers);
  } else {
    char *text = tune_deepspeed_text(answers);
    fputs(text != NULL ? text : "", stdout);
    free(text);
  }
  return tool_finish_output(tune_command_name, TOOL_OK);
}

static enum tool_exit answer(const struct tune *tune, struct outputs *outputs) {
  struct tune_answers answers;
  tune_answer(tune, &answers);
  if (tune->options.deepspeed != NULL && !answers.deepspeed_measured)
    tool_note(tune_command_name, "DeepSpeed uses libaio, which was not tried: its section is what "
                                 "was best on another backend");
  enum tool_exit status = output_write(&outputs->config, tune_config_text(&answers));
  if (status == TOOL_OK) status = output_write(&outputs->deepspeed, tune_deepspeed_text(&answers));
  if (status == TOOL_OK)
    status = output_write(&outputs->report,
                          outputs->report.path != NULL ? page_text(tune, &answers) : NULL);
  if (status == TOOL_OK) status = print(tune, &answers);
  return status;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static enum tool_exit open_engine(struct tune *tune, enum rf_backend_id backend) {
  const struct backend_choice choice = {.wish = WISH_ONE, .backend = backend};
  return backend_choice_open(tune_command_name, &choice, tune->options.directory, 0,
                             &tune->logs[backend], &tune->engines[backend]);
}

static void explain(const struct rf_verdict *verdict, char *text, size_t room) {
  snprintf(text, room, "%s", *verdict->why != '\0' ? verdict->why : rf_cause_name(verdict->cause));
}

static enum tool_exit open_engines(struct tune *tune) {
  const struct tune_options *options = &tune->options;
  const struct rf_probe_options asked = {.directory = options->directory};
  struct rf_host host;
  tune->usual = options->choice.backend;
  if (options->choice.wish == WISH_ONE) return open_engine(tune, tune->usual);
  const int status = rf_probe_host(&asked, &host);
  if (status != 0)
    return tool_fail(tune_command_name, TOOL_FAILED, "cannot probe this host: %s",
                     status_words(RF_FROM_PROBE, status, &(struct status_room){0}));
  tune->usual = host.selected;
  enum tool_exit opened = TOOL_OK;
  for (int b = 0; b < RF_BACKENDS && opened == TOOL_OK; b++) {
    if (host.verdicts[b].usable)
      opened = open_engine(tune, (enum rf_backend_id)b);
    else
      explain(&host.verdicts[b], tune->why_not[b], sizeof(tune->why_not[b]));
  }
  if (opened == TOOL_OK && tune->engines[tune->usual] == NULL)
    return tool_fail(tune_command_name, TOOL_FAILED, "%s: no backend works there: %s",
                     options->directory, tune->why_not[tune->usual]);
  return opened;
}

static enum tool_exit lend_file(struct tune *tune) {
  for (int b = 0; b < RF_BACKENDS; b++) {
    if (tune->engines[b] == NULL) continue;
    const int status =
        rf_file_from_fd(tune->engines[b], tune->file.new_file.fd, false, &tune->files[b]);
    if (status != 0)
      return tool_fail(tune_command_name, TOOL_FAILED, "%s: %s", tune->options.directory,
                       status_words(RF_FROM_FILE, status, &(struct status_room){0}));
  }
  return TOOL_OK;
}

/* Each direction has half of the time that is left; the second all of what then is. */
static enum tool_exit search_all(struct tune *tune) {
  const struct tune_options *options = &tune->options;
  const bool both = options->sides[TUNE_READ] && options->sides[TUNE_WRITE];
  const uint64_t now = tool_now_ns();
  const uint64_t left = tune->limit_ns > now ? tune->limit_ns - now : 0;
  enum tool_exit status = TOOL_OK;
  if (options->sides[TUNE_READ])
    status = tune_search(tune, TUNE_READ, both ? now + left / 2 : tune->limit_ns, NULL);
  if (status == TOOL_OK && options->sides[TUNE_WRITE])
    status =
        tune_search(tune, TUNE_WRITE, tune->limit_ns, both ? &tune->directions[TUNE_READ] : NULL);
  return status;
}

static enum tool_exit run(struct tune *tune) {
  rf_probe_limits(&tune->limits);
  progress_start();
  tune->begun_ns = tool_now_ns();
  tune->limit_ns = tune->begun_ns + (uint64_t)(tune->options.seconds * 1e9);
  tune->random = tune->options.seed;
  enum tool_exit status = tune_file_open(tune);
  if (status == TOOL_OK) status = open_engines(tune); /* while its trials still have room */
  if (status == TOOL_OK) status = tune_file_fill(tune);
  if (status == TOOL_OK) status = lend_file(tune);
  if (status == TOOL_OK) status = search_all(tune);
  progress_erase();
  return status;
}

static void close_all(struct tune *tune) {
  for (int b = 0; b < RF_BACKENDS; b++) {
    rf_file_close(tune->files[b]);
    rf_engine_close(tune->engines[b]);
  }
  for (int side = 0; side < TUNE_SIDES; side++) free(tune->directions[side].candidates);
  tune_file_close(&tune->file);
}

enum tool_exit tune_command(int argc, char **argv) {
  static struct tune tune = {.options = {.size = UINT64_C(256) << 20,
                                         .seconds = 60,
                                         .sides = {true, true},
                                         .choice = {.wish = WISH_ALL}}};
  struct outputs outputs = {0};
  uint32_t seed = 0;
  if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) seed = (uint32_t)tool_now_ns();
  tune.options.seed = seed & INT32_MAX; /* one that --seed takes */
  enum tool_exit status = parse(argc, argv, &tune.options);
  if (status != TOOL_OK) return status;
  if (tune.options.help) {
    fputs(usage, stdout);
    return tool_finish_output(tune_command_name, TOOL_OK);
  }
  tune.file.new_file.fd = tune.file.new_file.directory_fd = -1;
  status = outputs_open(&outputs, &tune.options);
  if (status == TOOL_OK) status = run(&tune);
  if (status == TOOL_OK) status = answer(&tune, &outputs);
  outputs_close(&outputs);
  close_all(&tune);
  if (status == TOOL_STOPPED) return tool_fail(tune_command_name, status, "stopped");
  return status;
}
