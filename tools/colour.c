// SPDX-License-Identifier: Apache-2.0
/* Colours: the sequences of ECMA-48, which all terminals of today know but those named "dumb". */
#include "colour.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool wanted(void) {
  const char *no = getenv("NO_COLOR");
  const char *terminal = getenv("TERM");
  if (no != NULL && *no != '\0') return false;
  if (terminal == NULL || *terminal == '\0' || strcmp(terminal, "dumb") == 0) return false;
  return isatty(STDOUT_FILENO) == 1;
}

const char *colour_on(enum colour colour) {
  static const char *const sequences[] = {
      [COLOUR_GOOD] = "\033[32m",
      [COLOUR_WARNING] = "\033[33m",
      [COLOUR_BAD] = "\033[31m",
      [COLOUR_HEADING] = "\033[1m",
  };
  return wanted() ? sequences[colour] : "";
}

const char *colour_off(void) {
  return wanted() ? "\033[0m" : "";
}
