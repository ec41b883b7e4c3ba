// SPDX-License-Identifier: Apache-2.0
/* JSON for machines. */
#ifndef RINGFALL_TOOLS_JSON_OUTPUT_H
#define RINGFALL_TOOLS_JSON_OUTPUT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "tool.h"

/* A string value of any bytes: file names need not be UTF-8, JSON must be; what is not becomes
 * U+FFFD.  null for NULL.  New reference, NULL for want of memory. */
json_t *json_text(const char *text);

/* The same, but null for "". */
json_t *json_text_or_null(const char *text);

/* A number, or null where a limit could not be read (-1). */
json_t *json_limit(int64_t value);

/* Prints root to a stream, or stdout, and gives up the reference.  root may be NULL (no memory).
 * Returns status, or TOOL_FAILED with a line on stderr. */
enum tool_exit json_print_to(const char *command, FILE *to, json_t *root, enum tool_exit status);
enum tool_exit json_print(const char *command, json_t *root, enum tool_exit status);

#endif
