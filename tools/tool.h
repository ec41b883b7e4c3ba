// SPDX-License-Identifier: Apache-2.0
/* What every command of `ringfall` shares: exit codes, and the way of saying what went wrong. */
#ifndef RINGFALL_TOOLS_TOOL_H
#define RINGFALL_TOOLS_TOOL_H

#include <ringfall/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As documented in `ringfall --help`. */
enum tool_exit {
  TOOL_OK = 0,
  TOOL_FAILED = 1,       /* the work failed: an I/O error, no space, a file that is not there */
  TOOL_USAGE = 2,        /* the command line, or RINGFALL_BACKEND, makes no sense */
  TOOL_NO_BACKEND = 3,   /* the demanded backend does not work here */
  TOOL_NOT_VERIFIED = 4, /* data came back other than it was written */
  TOOL_STOPPED = 128,    /* by a signal: main() ends the process by that signal */
};

/* Prints "ringfall COMMAND: ..." as exactly one line on stderr (control characters, which a file
 * name may have, become '?') and returns status.  command may be NULL. */
enum tool_exit tool_fail(const char *command, enum tool_exit status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for what the user should know though the work goes on. */
void tool_note(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Flushes stdout.  status, or TOOL_FAILED with a line on stderr if not all could be written. */
enum tool_exit tool_finish_output(const char *command, enum tool_exit status);

/* "ENOSPC"; "errno 4095" where it has no name.  Static, or in buffer. */
struct errno_text {
  char text[24];
};
const char *errno_name(int error, struct errno_text *buffer);

/* What a status of ringfall means, and what to do about it: as rf_status_text(), in room. */
struct status_room {
  char text[400];
};
const char *status_words(enum rf_status_source source, int status, struct status_room *room);

/* "256 MiB" where that is exact, else "1.5 MiB"; "12 bytes". */
struct bytes_text {
  char text[32];
};
const char *bytes_name(uint64_t bytes, struct bytes_text *buffer);

/* Opening such a file waits for the other side, and a signal would not end that. */
bool names_pipe(const char *path);

/* One per command; argv[0] is the command's name. */
enum tool_exit probe_command(int argc, char **argv);
enum tool_exit bench_command(int argc, char **argv);
enum tool_exit copy_command(int argc, char **argv);
enum tool_exit read_command(int argc, char **argv);
enum tool_exit write_command(int argc, char **argv);
enum tool_exit verify_command(int argc, char **argv);
enum tool_exit tune_command(int argc, char **argv);

#endif
