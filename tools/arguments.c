// SPDX-License-Identifier: Apache-2.0
/* Values on the command line: strict, because a size that is misread writes to the wrong place. */
#include "arguments.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Digits only: strtoull() alone would take " -1". */
static int whole_number(const char *text, const char **end, uint64_t *number) {
  if (*text < '0' || *text > '9') return -EINVAL;
  char *stop;
  errno = 0;
  const unsigned long long value = strtoull(text, &stop, 10);
  if (errno == ERANGE) return -ERANGE;
  *end = stop;
  *number = value;
  return 0;
}

/* How far to shift for a suffix; -1 if it is none. */
static int suffix_shift(const char *suffix) {
  static const char letters[] = "KMGT";
  if (*suffix == '\0') return 0;
  const char upper = (char)(*suffix & ~0x20);
  const char *letter = strchr(letters, upper);
  if (letter == NULL || upper == '\0') return -1;
  const char *rest = suffix + 1;
  if (*rest != '\0' && strcmp(rest, "iB") != 0) return -1;
  return 10 * (int)(letter - letters + 1);
}

enum tool_exit argument_offset(const char *command, const char *option, const char *text,
                               uint64_t *bytes) {
  const char *suffix = text;
  uint64_t number = 0;
  int status = whole_number(text, &suffix, &number);
  const int shift = status == 0 ? suffix_shift(suffix) : 0;
  if (status == -EINVAL || shift < 0)
    return tool_fail(command, TOOL_USAGE,
                     "%s '%s': not a size (a number, with K, M, G or T after it)", option, text);
  if (status == -ERANGE || number > ((uint64_t)INT64_MAX >> shift))
    return tool_fail(command, TOOL_USAGE, "%s '%s': larger than any file can be", option, text);
  *bytes = number << shift;
  return TOOL_OK;
}

enum tool_exit argument_size(const char *command, const char *option, const char *text,
                             uint64_t *bytes) {
  const enum tool_exit status = argument_offset(command, option, text, bytes);
  if (status == TOOL_OK && *bytes == 0)
    return tool_fail(command, TOOL_USAGE, "%s '%s': must be larger than 0", option, text);
  return status;
}

enum tool_exit argument_checksum(const char *command, const char *text, bool *none) {
  *none = strcmp(text, "none") == 0;
  if (*none || strcmp(text, "sha256") == 0) return TOOL_OK;
  return tool_fail(command, TOOL_USAGE, "--checksum '%s': must be sha256 or none", text);
}

enum tool_exit argument_count(const char *command, const char *option, const char *text,
                              unsigned min, unsigned max, unsigned *count) {
  const char *end = text;
  uint64_t number = 0;
  int status = whole_number(text, &end, &number);
  if (status == -EINVAL || *end != '\0')
    return tool_fail(command, TOOL_USAGE, "%s '%s': not a whole number from %u to %u", option, text,
                     min, max);
  if (status != 0 || number < min || number > max)
    return tool_fail(command, TOOL_USAGE, "%s '%s': must be from %u to %u", option, text, min, max);
  *count = (unsigned)number;
  return TOOL_OK;
}

enum tool_exit argument_seconds(const char *command, const char *option, const char *text,
                                double *seconds) {
  const double year = 366.0 * 24 * 60 * 60;
  char *end;
  const double value = strtod(text, &end);
  if (end == text || *end != '\0' || isnan(value))
    return tool_fail(command, TOOL_USAGE, "%s '%s': not a number of seconds", option, text);
  if (!(value > 0) || value > year)
    return tool_fail(command, TOOL_USAGE, "%s '%s': must be more than 0 and at most a year", option,
                     text);
  *seconds = value;
  return TOOL_OK;
}

/* What '?' and ':' mean, as returned by getopt_long() with opterr 0 and an optstring that begins
 * with ':'. */
static enum tool_exit refused(const char *command, int returned, char **argv) {
  /* For a long option getopt leaves it just behind optind; for a letter it names it in optopt,
   * which for a long option it does not know is 0. */
  const char *word = argv[optind - 1];
  if (returned == ':')
    return tool_fail(command, TOOL_USAGE, "%s needs a value (see ringfall %s --help)", word,
                     command);
  if (optopt != 0 && strncmp(word, "--", 2) != 0)
    return tool_fail(command, TOOL_USAGE, "unknown option -%c (see ringfall %s --help)", optopt,
                     command);
  if (optopt != 0)
    return tool_fail(command, TOOL_USAGE, "%s: takes no value (see ringfall %s --help)", word,
                     command);
  return tool_fail(command, TOOL_USAGE, "unknown option %s (see ringfall %s --help)", word,
                   command);
}

enum tool_exit arguments_parse(const char *command, int argc, char **argv,
                               const struct option *longs, argument_function *take, void *options,
                               bool *help) {
  int found;
  opterr = 0;
  while ((found = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
    if (found == '?' || found == ':') return refused(command, found, argv);
    *help = found == 'h';
    if (*help) return TOOL_OK;
    const enum tool_exit status = take(found, options);
    if (status != TOOL_OK) return status;
  }
  return TOOL_OK;
}
