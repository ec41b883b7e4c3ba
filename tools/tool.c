// SPDX-License-Identifier: Apache-2.0
/* What every command shares: messages and names. */
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "progress.h"

/* One write a line, so that lines of several processes do not mix. */
static void print_line(const char *command, const char *prefix, const char *format,
                       va_list arguments) {
  char message[8192];
  vsnprintf(message, sizeof(message), format, arguments);
  for (char *c = message; *c != '\0'; c++)
    if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
  char line[8320];
  snprintf(line, sizeof(line), "ringfall%s%s: %s%s\n", command ? " " : "", command ? command : "",
           prefix, message);
  fflush(stdout);
  progress_erase();
  fputs(line, stderr);
}

enum tool_exit tool_fail(const char *command, enum tool_exit status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_line(command, "", format, arguments);
  va_end(arguments);
  return status;
}

void tool_note(const char *command, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_line(command, "note: ", format, arguments);
  va_end(arguments);
}

enum tool_exit tool_finish_output(const char *command, enum tool_exit status) {
  errno = 0;
  if (fflush(stdout) == 0 && !ferror(stdout)) return status;
  const int error = errno != 0 ? errno : EIO;
  enum tool_exit failed = status == TOOL_OK ? TOOL_FAILED : status;
  return tool_fail(command, failed, "cannot write to standard output: %s", strerror(error));
}

const char *errno_name(int error, struct errno_text *buffer) {
  const char *name = rf_status_name(-error);
  if (strcmp(name, "unknown") != 0) return name;
  snprintf(buffer->text, sizeof(buffer->text), "errno %d", error);
  return buffer->text;
}

const char *status_words(enum rf_status_source source, int status, struct status_room *room) {
  (void)rf_status_text(source, status, room->text, sizeof(room->text));
  return room->text;
}

const char *bytes_name(uint64_t bytes, struct bytes_text *buffer) {
  static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  unsigned unit = 0;
  while (unit < 6 && (bytes >> (10 * (unit + 1))) != 0) unit++;
  const uint64_t one = UINT64_C(1) << (10 * unit);
  if (bytes % one == 0)
    snprintf(buffer->text, sizeof(buffer->text), "%" PRIu64 " %s", bytes / one, units[unit]);
  else
    snprintf(buffer->text, sizeof(buffer->text), "%.1f %s", (double)bytes / (double)one,
             units[unit]);
  return buffer->text;
}

bool names_pipe(const char *path) {
  struct stat found;
  return stat(path, &found) == 0 && S_ISFIFO(found.st_mode);
}
