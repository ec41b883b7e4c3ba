// SPDX-License-Identifier: Apache-2.0
/* Colours for people, on stdout: only if that is a terminal that knows them, and nobody objects by
 * NO_COLOR.  Everywhere else both functions give "", and the output has the same bytes as ever. */
#ifndef RINGFALL_TOOLS_COLOUR_H
#define RINGFALL_TOOLS_COLOUR_H

enum colour {
  COLOUR_GOOD,
  COLOUR_WARNING, /* it works, but with less */
  COLOUR_BAD,
  COLOUR_HEADING, /* bold */
};

/* What to print before and after what is coloured.  Static strings. */
const char *colour_on(enum colour colour);
const char *colour_off(void);

#endif
