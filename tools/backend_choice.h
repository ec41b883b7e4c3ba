// SPDX-License-Identifier: Apache-2.0
/* --backend: which one, and an engine that has it. */
#ifndef RINGFALL_TOOLS_BACKEND_CHOICE_H
#define RINGFALL_TOOLS_BACKEND_CHOICE_H

#include <ringfall/engine.h>

#include "tool.h"

enum backend_wish {
  WISH_NONE = 0, /* --backend was not given: RINGFALL_BACKEND, else the best */
  WISH_AUTO,     /* "auto": the best, whatever RINGFALL_BACKEND says */
  WISH_ALL,      /* "all": each that works, where a command offers that */
  WISH_ONE,      /* this one or nothing */
};

struct backend_choice {
  enum backend_wish wish;
  enum rf_backend_id backend; /* for WISH_ONE */
};

/* Takes the value of --backend.  "all" only if `all`.  TOOL_OK, or TOOL_USAGE and a line. */
enum tool_exit backend_choice_parse(const char *command, const char *text, bool all,
                                    struct backend_choice *choice);

/* What an engine last complained of; must live as long as the engine. */
struct engine_log {
  char message[512];
};

/* Opens an engine as chosen (not WISH_ALL), probing in directory (NULL: a file in memory) at that
 * depth (0: the usual).  TOOL_OK; else a line was printed: TOOL_NO_BACKEND for a backend that does
 * not work here, TOOL_USAGE for a RINGFALL_BACKEND that makes no sense, TOOL_FAILED. */
enum tool_exit backend_choice_open(const char *command, const struct backend_choice *choice,
                                   const char *directory, unsigned depth, struct engine_log *log,
                                   struct rf_engine **engine);

/* Takes an engine's errors. */
void engine_log_take(void *context, enum rf_log_level level, const char *message);

#endif
