// SPDX-License-Identifier: Apache-2.0
/*
 * ringfall probe: what this host and a directory can do.
 *
 * Asks an engine, opened as a program would open it, and not only the probe: what counts is what
 * programs will get, RINGFALL_BACKEND included.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ringfall/engine.h>

#include "arguments.h"
#include "backend_choice.h"
#include "build_report.h"
#include "probe_report.h"

static const char command[] = "probe";

static const char usage[] =
    "Usage: ringfall probe [DIR] [--json]\n"
    "       ringfall probe --build [--json]\n"
    "\n"
    "Says which backends work on this host, which one programs will get, why not a better one and\n"
    "what to do about it; the limits that decide; and, with DIR, what files in that directory can\n"
    "do. Every backend is tried with real reads and writes; nothing is left behind.\n"
    "\n"
    "Options:\n"
    "  --json    for machines; sizes in bytes, null for what is not known\n"
    "  --build   instead: what was found of liburing and libaio when ringfall was built\n"
    "  --help    this text\n"
    "\n"
    "Environment:\n"
    "  RINGFALL_BACKEND  as for every program (see ringfall --help); the report takes it into\n"
    "                    account\n"
    "\n"
    "Exit codes:\n"
    "  0  the report is complete, also when only threads work\n"
    "  1  DIR cannot be used (the report says why)\n"
    "  2  bad usage, or RINGFALL_BACKEND makes no sense\n"
    "  3  RINGFALL_BACKEND requires a backend that does not work here\n";

struct options {
  bool json;
  bool build;
  bool help;
  const char *directory;
};

static enum tool_exit parse_option(int found, void *into) {
  struct options *options = into;
  options->json = options->json || found == 'j';
  options->build = options->build || found == 'b';
  return TOOL_OK;
}

static enum tool_exit parse(int argc, char **argv, struct options *options) {
  static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
                                        {"build", no_argument, NULL, 'b'},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};
  const enum tool_exit status =
      arguments_parse(command, argc, argv, longs, parse_option, options, &options->help);
  if (status != TOOL_OK || options->help) return status;
  if (argc - optind > 1)
    return tool_fail(command, TOOL_USAGE, "one DIR at a time ('%s')", argv[optind + 1]);
  options->directory = argv[optind];
  if (options->build && options->directory != NULL)
    return tool_fail(command, TOOL_USAGE, "--build takes no DIR");
  return TOOL_OK;
}

static enum tool_exit print(const struct options *options, const struct probe_findings *findings,
                            enum tool_exit status) {
  if (options->json) return probe_print_json(command, findings, status);
  probe_print_text(findings);
  return tool_finish_output(command, status);
}

/* The directory's state decides only after the choice of a backend has. */
static enum tool_exit report(const struct options *options, struct probe_findings findings,
                             enum tool_exit status) {
  struct rf_directory directory = {.usable = true};
  struct status_room words;
  if (options->directory != NULL) {
    const int error = rf_probe_directory(options->directory, &directory);
    if (error != 0)
      return tool_fail(command, TOOL_FAILED, "%s: %s", options->directory,
                       status_words(RF_FROM_PROBE, error, &words));
    findings.path = options->directory;
    findings.directory = &directory;
  }
  status = print(options, &findings, status);
  if (status == TOOL_OK && !directory.usable)
    return tool_fail(command, TOOL_FAILED, "%s: cannot be used: %s", options->directory,
                     strerror(directory.error));
  return status;
}

/* An engine tries only what it needs for its choice; this is to show everything. */
static enum tool_exit probe_all(const struct options *options, struct probe_findings *findings) {
  const struct rf_probe_options probe = {.directory = options->directory, .in_child = true};
  struct status_room words;
  const int error = rf_probe_host(&probe, &findings->host);
  if (error == 0) return TOOL_OK;
  return tool_fail(command, TOOL_FAILED, "cannot probe this host: %s",
                   status_words(RF_FROM_PROBE, error, &words));
}

enum tool_exit probe_command(int argc, char **argv) {
  struct options options = {0};
  enum tool_exit status = parse(argc, argv, &options);
  if (status != TOOL_OK) return status;
  if (options.help) {
    fputs(usage, stdout);
    return tool_finish_output(command, TOOL_OK);
  }
  if (options.build) return build_report(command, options.json);
  const struct backend_choice choice = {.wish = WISH_NONE};
  struct probe_findings findings = {.environment = secure_getenv("RINGFALL_BACKEND")};
  struct rf_engine *engine;
  struct engine_log log;
  status = backend_choice_open(command, &choice, options.directory, 0, &log, &engine);
  const enum tool_exit probed = probe_all(&options, &findings);
  if (status !=
      TOOL_OK) { /* the line that says so is out already: report on the host all the same */
    findings.explanation = log.message;
    return probed != TOOL_OK ? probed : report(&options, findings, status);
  }
  findings.host.selected = rf_engine_host(engine)->selected;
  findings.chosen = true;
  findings.explanation = rf_engine_explanation(engine);
  status = probed != TOOL_OK ? probed : report(&options, findings, TOOL_OK);
  rf_engine_close(engine);
  return status;
}
