// SPDX-License-Identifier: Apache-2.0
/* JSON for machines, through jansson. */
#include "json_output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The length of the UTF-8 character that text begins with; 0 if it is none.  Jansson judges. */
static size_t character_length(const char *text) {
  const size_t left = strnlen(text, 4);
  for (size_t length = 1; length <= left; length++) {
    json_t *character = json_stringn(text, length);
    const int valid = character != NULL;
    json_decref(character);
    if (valid) return length;
  }
  return 0;
}

static json_t *repaired(const char *text) {
  static const char replacement[] = "\xef\xbf\xbd";
  char *clean = malloc(3 * strlen(text) + 1);
  if (clean == NULL) return NULL;
  char *to = clean;
  while (*text != '\0') {
    const size_t length = character_length(text);
    const char *from = length > 0 ? text : replacement;
    const size_t count = length > 0 ? length : 3;
    memcpy(to, from, count);
    to += count;
    text += length > 0 ? length : 1;
  }
  *to = '\0';
  json_t *value = json_string(clean);
  free(clean);
  return value;
}

json_t *json_text(const char *text) {
  if (text == NULL) return json_null();
  json_t *value = json_string(text);
  return value != NULL ? value : repaired(text);
}

json_t *json_text_or_null(const char *text) {
  return json_text(text != NULL && *text != '\0' ? text : NULL);
}

json_t *json_limit(int64_t value) {
  return value < 0 ? json_null() : json_integer(value);
}

enum tool_exit json_print_to(const char *command, FILE *to, json_t *root, enum tool_exit status) {
  if (root == NULL) return tool_fail(command, TOOL_FAILED, "no memory for the report");
  json_dumpf(root, to, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
  json_decref(root);
  fputc('\n', to);
  return tool_finish_output(command, status);
}

enum tool_exit json_print(const char *command, json_t *root, enum tool_exit status) {
  return json_print_to(command, stdout, root, status);
}
