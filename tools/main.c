// SPDX-License-Identifier: Apache-2.0
/* The program `ringfall`: finds the command and ends as it says. */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ringfall/version.h>

#include "stop_signals.h"
#include "tool.h"

static const char usage[] =
    "Usage: ringfall COMMAND [OPTION]...\n"
    "\n"
    "Storage I/O on Linux: what this host can do, how fast it is, and a copy that uses it.\n"
    "\n"
    "Commands:\n"
    "  probe [DIR]     say which backends (io_uring, libaio, threads) work here, and why not\n"
    "  bench           run all that work over one file: speed, latency, CPU; every byte checked\n"
    "  tune [DIR]      find the backend and the options that are fastest in DIR\n"
    "  copy SRC DST    copy a file, with a checksum, all or nothing\n"
    "  read FILE       read a file or a part of it: measure that, or pass the data on\n"
    "  write FILE      write what comes in to a file, in place or all or nothing\n"
    "  verify FILE     is it equal to a checksum, or to another file?\n"
    "  help [COMMAND]  this text, or that of ringfall COMMAND --help\n"
    "\n"
    "Options:\n"
    "  --help          this text\n"
    "  --version       the version\n"
    "\n"
    "Environment:\n"
    "  RINGFALL_BACKEND  the backend for every program that uses ringfall, unless it names one\n"
    "                    itself: auto, NAME or prefer:NAME (that one if it works), require:NAME\n"
    "                    (that one or an error); NAME is io_uring, libaio or threads\n"
    "  NO_COLOR          if it is not empty, no colours; nor with TERM=dumb, or without a "
    "terminal\n"
    "\n"
    "Exit codes:\n"
    "  0  all went well\n"
    "  1  the work failed: an I/O error, no space, a file that is not there\n"
    "  2  the command line or RINGFALL_BACKEND makes no sense\n"
    "  3  the demanded backend does not work here\n"
    "  4  data came back other than it was written\n"
    "  (verify: 0 equal, 1 not equal, 2 that could not be found out, as cmp)\n"
    "  A signal that stops a command ends it as that signal does (128 + its number to a shell).\n";

static const struct {
  const char *name;
  enum tool_exit (*run)(int argc, char **argv);
} commands[] = {
    {"probe", probe_command},   {"bench", bench_command}, {"tune", tune_command},
    {"copy", copy_command},     {"read", read_command},   {"write", write_command},
    {"verify", verify_command},
};

static enum tool_exit run_command(int argc, char **argv) {
  for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
    if (strcmp(argv[0], commands[i].name) == 0) return commands[i].run(argc, argv);
  return tool_fail(NULL, TOOL_USAGE, "no command '%s' (see ringfall --help)", argv[0]);
}

static bool asks_for_help(const char *word) {
  return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

static enum tool_exit help(int argc, char **argv) {
  if (argc > 2) return tool_fail("help", TOOL_USAGE, "one COMMAND at a time ('%s')", argv[2]);
  if (argc < 2 || asks_for_help(argv[1])) {
    fputs(usage, stdout);
    return tool_finish_output(NULL, TOOL_OK);
  }
  char option[] = "--help";
  char *arguments[] = {argv[1], option, NULL};
  return run_command(2, arguments);
}

static enum tool_exit dispatch(int argc, char **argv) {
  if (argc < 1) return tool_fail(NULL, TOOL_USAGE, "a command is needed (see ringfall --help)");
  if (asks_for_help(argv[0])) return help(argc, argv);
  if (strcmp(argv[0], "--version") != 0) return run_command(argc, argv);
  printf("ringfall %s\n", rf_version_string());
  return tool_finish_output(NULL, TOOL_OK);
}

/* A file that is opened must not get the number of a standard stream that is closed: what is
 * printed would go into it.  What takes that place can be neither read nor written (EBADF, as
 * before). */
static bool occupy_closed_streams(void) {
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH | O_CLOEXEC) != fd) return false;
  return true;
}

int main(int argc, char **argv) {
  if (!occupy_closed_streams()) return TOOL_FAILED; /* there is nowhere to say why */
  signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error to be told (EFBIG), not an end */
  stop_signals_catch();
  const enum tool_exit status = dispatch(argc - 1, argv + 1);
  if (status != TOOL_STOPPED) return (int)status;
  stop_signals_die();
  return (int)TOOL_STOPPED + stop_signal();
}
