// SPDX-License-Identifier: Apache-2.0
/* --backend: which one, and an engine that has it. */
#include "backend_choice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum tool_exit backend_choice_parse(const char *command, const char *text, bool all,
                                    struct backend_choice *choice) {
  if (strcmp(text, "auto") == 0 && !all) {
    choice->wish = WISH_AUTO;
  } else if (strcmp(text, "all") == 0 && all) {
    choice->wish = WISH_ALL;
  } else if (rf_backend_by_name(text, &choice->backend) == 0) {
    choice->wish = WISH_ONE;
  } else {
    return tool_fail(command, TOOL_USAGE,
                     "--backend '%s': no such backend (io_uring, libaio, threads or %s)", text,
                     all ? "all" : "auto");
  }
  return TOOL_OK;
}

void engine_log_take(void *context, enum rf_log_level level, const char *message) {
  struct engine_log *log = context;
  if (level == RF_LOG_ERROR) snprintf(log->message, sizeof(log->message), "%s", message);
}

/* Says why the demanded backend does not work, and what would make it work. */
static enum tool_exit refused(const char *command, enum rf_backend_id backend,
                              const char *directory, unsigned depth, const char *logged) {
  const struct rf_probe_options options = {.depth = depth, .directory = directory};
  struct rf_host host;
  if (rf_probe_host(&options, &host) != 0 || host.verdicts[backend].usable)
    return tool_fail(command, TOOL_NO_BACKEND, "%s does not work here%s%s",
                     rf_backend_name(backend), *logged ? ": " : "", logged);
  const struct rf_verdict *verdict = &host.verdicts[backend];
  return tool_fail(command, TOOL_NO_BACKEND, "%s does not work here: %s%s%s",
                   rf_backend_name(backend), verdict->why, *verdict->remedy ? "; remedy: " : "",
                   verdict->remedy);
}

static enum tool_exit not_opened(const char *command, const struct backend_choice *choice,
                                 const struct rf_engine_options *options, int status,
                                 const char *logged) {
  if (choice->wish == WISH_ONE && status == -ENOTSUP)
    return refused(command, choice->backend, options->directory, options->depth, logged);
  struct status_room words;
  const char *why = *logged ? logged : status_words(RF_FROM_ENGINE, status, &words);
  if (choice->wish == WISH_NONE && status == -ENOTSUP)
    return tool_fail(command, TOOL_NO_BACKEND, "RINGFALL_BACKEND: %s", why);
  if (choice->wish == WISH_NONE && status == -EINVAL)
    return tool_fail(command, TOOL_USAGE, "RINGFALL_BACKEND: %s", why);
  return tool_fail(command, TOOL_FAILED, "cannot open an engine: %s", why);
}

enum tool_exit backend_choice_open(const char *command, const struct backend_choice *choice,
                                   const char *directory, unsigned depth, struct engine_log *log,
                                   struct rf_engine **engine) {
  memset(log, 0, sizeof(*log));
  struct rf_engine_options options;
  rf_engine_options_init(&options);
  options.choice = choice->wish == WISH_ONE ? RF_CHOICE_REQUIRE : RF_CHOICE_AUTO;
  options.backend = choice->backend;
  options.ignore_environment = choice->wish != WISH_NONE;
  options.directory = directory;
  options.depth = depth;
  options.probe_in_child = true; /* a filter may kill who tries */
  options.log = engine_log_take;
  options.log_context = log;
  const int status = rf_engine_open(engine, &options);
  if (status == 0) return TOOL_OK;
  return not_opened(command, choice, &options, status, log->message);
}
