// SPDX-License-Identifier: Apache-2.0
/* What the build found: the generated headers, put into words. */
#include "build_report.h"

#include <stdio.h>
#include <string.h>

#include <ringfall_build/libaio.h>
#include <ringfall_build/liburing.h>

#include "colour.h"
#include "json_output.h"

static const struct library {
  const char *name;
  const char *backend;
  int found;
  const char *reason;
  const char *remedy;
  const char *link;
  const char *log;
} libraries[] = {
    {"liburing", "io_uring", RF_BUILD_LIBURING_FOUND, RF_BUILD_LIBURING_REASON,
     RF_BUILD_LIBURING_REMEDY, RF_BUILD_LIBURING_LINK, RF_BUILD_LIBURING_LOG},
    {"libaio", "libaio", RF_BUILD_LIBAIO_FOUND, RF_BUILD_LIBAIO_REASON, RF_BUILD_LIBAIO_REMEDY,
     RF_BUILD_LIBAIO_LINK, RF_BUILD_LIBAIO_LOG},
};
#define LIBRARIES (sizeof(libraries) / sizeof(libraries[0]))

static enum tool_exit print_json(const char *command) {
  json_t *build = json_object();
  for (size_t i = 0; i < LIBRARIES; i++) {
    const struct library *l = &libraries[i];
    json_object_set_new(build, l->name,
                        json_pack("{s:s, s:b, s:o, s:o, s:o, s:o}", "backend", l->backend, "found",
                                  l->found, "reason", json_text_or_null(l->reason), "remedy",
                                  json_text_or_null(l->remedy), "link", json_text_or_null(l->link),
                                  "log", json_text_or_null(l->log)));
  }
  return json_print(command, json_pack("{s:o}", "build", build), TOOL_OK);
}

/* A field of several lines, each below the first. */
static void print_field(const char *name, const char *text) {
  while (*text != '\0') {
    const int length = (int)strcspn(text, "\n");
    printf("  %-10s%.*s\n", name, length, text);
    text += length;
    text += *text == '\n';
    name = "";
  }
}

static enum tool_exit print_text(const char *command) {
  for (size_t i = 0; i < LIBRARIES; i++) {
    const struct library *l = &libraries[i];
    printf("%s%s, for the backend %s: %s%s when ringfall was built%s\n", i > 0 ? "\n" : "", l->name,
           l->backend, colour_on(l->found ? COLOUR_GOOD : COLOUR_WARNING),
           l->found ? "found" : "not used", colour_off());
    print_field("reason", l->reason);
    print_field("remedy", l->remedy);
    print_field("link", l->link);
    print_field("log", l->log);
  }
  return tool_finish_output(command, TOOL_OK);
}

enum tool_exit build_report(const char *command, bool json) {
  return json ? print_json(command) : print_text(command);
}
