// SPDX-License-Identifier: Apache-2.0
/* The findings of `ringfall probe`, in words for people and in JSON for machines. */
#ifndef RINGFALL_TOOLS_PROBE_REPORT_H
#define RINGFALL_TOOLS_PROBE_REPORT_H

#include <stdbool.h>

#include <ringfall/verdict.h>

#include "tool.h"

struct probe_findings {
  struct rf_host host;
  bool chosen;                          /* an engine would open; host.selected is its backend */
  const char *explanation;              /* why that one; or why no engine would open */
  const char *environment;              /* RINGFALL_BACKEND; NULL if it is not set */
  const char *path;                     /* the directory asked about; NULL if none */
  const struct rf_directory *directory; /* NULL if none */
};

void probe_print_text(const struct probe_findings *findings);

/* Returns status, or TOOL_FAILED if it could not be printed. */
enum tool_exit probe_print_json(const char *command, const struct probe_findings *findings,
                                enum tool_exit status);

#endif
