// SPDX-License-Identifier: Apache-2.0
/* The engine: options, the choice of a backend and its explanation, and what all queues share. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/internal.h"

const char *rf_version_string(void) {
#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)
  return TEXT(RF_VERSION_MAJOR) "." TEXT(RF_VERSION_MINOR) "." TEXT(RF_VERSION_PATCH);
#undef TEXT
#undef TEXT_OF
}

void rf_log(const struct rf_engine *engine, enum rf_log_level level, const char *format, ...) {
  char message[1024];
  va_list arguments;
  if (engine->log == NULL) return;
  va_start(arguments, format);
  vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  engine->log(engine->log_context, level, message);
}

/* ---- options and environment ----------------------------------------------------------------- */

/* One write a message, so that those of several threads stay apart. */
static void log_to_stderr(void *context, enum rf_log_level level, const char *message) {
  static const char *const names[] = {"error", "warning", "info"};
  const struct rf_engine *engine = context;
  if (level > engine->most) return;
  dprintf(STDERR_FILENO, "ringfall: %s: %s\n", names[level], message);
}

/* For programs that have no log of their own. */
static void follow_environment(struct rf_engine *engine, const struct rf_engine_options *options) {
  const char *text = options->ignore_environment ? NULL : secure_getenv("RINGFALL_LOG");
  if (options->log != NULL || text == NULL || text[0] == '\0') return;
  engine->log = log_to_stderr;
  engine->log_context = engine;
  if (strcmp(text, "info") == 0)
    engine->most = RF_LOG_INFO;
  else if (strcmp(text, "warning") == 0)
    engine->most = RF_LOG_WARNING;
  else if (strcmp(text, "error") != 0)
    rf_log(engine, RF_LOG_ERROR, "RINGFALL_LOG=%s is not understood: error, warning or info", text);
}

void rf_engine_options_init(struct rf_engine_options *options) {
  memset(options, 0, sizeof(*options));
  options->size = sizeof(*options);
  options->depth = 128;
}

struct wish {
  enum rf_choice choice;
  enum rf_backend_id backend;
  bool from_environment;
};

/* "auto", "NAME", "prefer:NAME" or "require:NAME". */
static int read_wish(const char *text, struct wish *wish) {
  wish->from_environment = true;
  wish->choice = RF_CHOICE_AUTO;
  if (strcmp(text, "auto") == 0) return 0;
  wish->choice = RF_CHOICE_PREFER;
  if (strncmp(text, "prefer:", 7) == 0) {
    text += 7;
  } else if (strncmp(text, "require:", 8) == 0) {
    text += 8;
    wish->choice = RF_CHOICE_REQUIRE;
  }
  return rf_backend_by_name(text, &wish->backend);
}

static int find_wish(struct rf_engine *engine, const struct rf_engine_options *options,
                     struct wish *wish) {
  const char *text = options->ignore_environment ? NULL : secure_getenv("RINGFALL_BACKEND");
  wish->choice = options->choice;
  wish->backend = options->backend;
  wish->from_environment = false;
  if (text != NULL && text[0] != '\0') {
    if (read_wish(text, wish) == 0) return 0;
    rf_log(engine, RF_LOG_ERROR,
           "RINGFALL_BACKEND=%s is not understood: auto, or io_uring, libaio or threads, also with "
           "prefer: or require: before it",
           text);
    return -EINVAL;
  }
  if ((unsigned)wish->choice > RF_CHOICE_REQUIRE || (unsigned)wish->backend >= RF_BACKENDS) {
    rf_log(engine, RF_LOG_ERROR, "options: no such choice or backend");
    return -EINVAL;
  }
  return 0;
}

/* ---- the choice ------------------------------------------------------------------------------ */

static void log_refused(const struct rf_engine *engine, const struct wish *wish) {
  for (unsigned id = 0; id < RF_BACKENDS; id++) {
    const struct rf_verdict *verdict = &engine->host.verdicts[id];
    bool wished = wish->choice != RF_CHOICE_AUTO && wish->backend == id;
    if (verdict->usable || !verdict->tried || (!wished && id > engine->host.selected)) continue;
    rf_log(engine, RF_LOG_WARNING, "%s is not usable: %s%s%s", rf_backend_name(verdict->backend),
           verdict->why, verdict->remedy[0] != '\0' ? "; remedy: " : "", verdict->remedy);
  }
}

static void explain(struct rf_engine *engine, const struct wish *wish) {
  const struct rf_host *host = &engine->host;
  const char *name = rf_backend_name(host->selected);
  const char *by = wish->from_environment ? " by RINGFALL_BACKEND" : "";
  const struct rf_verdict *other = NULL;
  char *text = engine->explanation;
  size_t size = sizeof(engine->explanation);
  if (wish->choice == RF_CHOICE_REQUIRE) {
    snprintf(text, size, "%s, as required%s", name, by);
  } else if (wish->choice == RF_CHOICE_PREFER && wish->backend == host->selected) {
    snprintf(text, size, "%s, as preferred%s", name, by);
  } else {
    if (wish->choice == RF_CHOICE_PREFER)
      other = &host->verdicts[wish->backend];
    else if (host->selected != RF_BACKEND_IO_URING)
      other = &host->verdicts[RF_BACKEND_IO_URING];
    if (other == NULL)
      snprintf(text, size, "%s, the best backend that works here", name);
    else
      snprintf(text, size, "%s, the best backend that works here; %s does not: %s", name,
               rf_backend_name(other->backend), other->why);
  }
}

/* 0 with host.selected and required set, or -ENOTSUP. */
static int choose(struct rf_engine *engine, const struct wish *wish) {
  struct rf_host *host = &engine->host;
  bool wished = wish->choice != RF_CHOICE_AUTO;
  engine->required = wish->choice == RF_CHOICE_REQUIRE;
  engine->routed = wish->choice == RF_CHOICE_AUTO;
  if (wished && host->verdicts[wish->backend].usable) host->selected = wish->backend;
  log_refused(engine, wish);
  if (engine->required && !host->verdicts[wish->backend].usable) {
    rf_log(engine, RF_LOG_ERROR, "%s is required and does not work here",
           rf_backend_name(wish->backend));
    return -ENOTSUP;
  }
  explain(engine, wish);
  rf_log(engine, RF_LOG_INFO, "%s", engine->explanation);
  return 0;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static void free_engine(struct rf_engine *engine) {
  rf_alive_close(engine->alive);
  free(engine);
}

static int read_options(const struct rf_engine_options *given, struct rf_engine_options *options) {
  rf_engine_options_init(options);
  if (given == NULL) return 0;
  if (given->size < sizeof(given->size) || given->size > sizeof(*options)) return -EINVAL;
  memcpy(options, given, given->size);
  if (options->depth == 0) options->depth = 128;
  return options->depth <= RF_DEPTH_MAX ? 0 : -EINVAL;
}

/* Substitutes that are not of this host are taken as they are. */
static int pretend(struct rf_engine *engine) {
  rf_probe_limits(&engine->host.limits);
  for (unsigned id = 0; id < RF_BACKENDS; id++) {
    engine->host.verdicts[id].backend = (enum rf_backend_id)id;
    engine->host.verdicts[id].tried = true;
    engine->host.verdicts[id].usable = true;
    engine->host.verdicts[id].syscall = "";
  }
  return 0;
}

/* Only as much as the choice needs: closing a libaio context takes the kernel tens of ms. */
static int probe(struct rf_engine *engine, const struct rf_engine_options *options,
                 const struct wish *wish) {
  struct rf_probe_options asked = {.depth = options->depth,
                                   .directory = options->directory,
                                   .first_only = true,
                                   .in_child = options->probe_in_child};
  if (wish->choice == RF_CHOICE_AUTO) return rf_probe_host(&asked, &engine->host);
  asked.skip = ~(1u << wish->backend);
  int status = rf_probe_host(&asked, &engine->host);
  struct rf_verdict wished = engine->host.verdicts[wish->backend];
  if (status != 0 || wished.usable || wish->choice == RF_CHOICE_REQUIRE) return status;
  asked.skip = 1u << wish->backend;
  status = rf_probe_host(&asked, &engine->host);
  engine->host.verdicts[wish->backend] = wished;
  return status;
}

int rf_engine_open_with(struct rf_engine **out, const struct rf_engine_options *given,
                        const struct rf_substitute *substitute) {
  struct rf_engine_options options;
  struct wish wish;
  int status = read_options(given, &options);
  if (status != 0) return status;
  struct rf_engine *engine = calloc(1, sizeof(*engine));
  if (engine == NULL) return -ENOMEM;
  engine->log = options.log;
  engine->log_context = options.log_context;
  follow_environment(engine, &options);
  engine->backends = substitute != NULL ? substitute->backends : rf_backend_tables;
  engine->context = substitute != NULL ? substitute->context : NULL;
  bool probed = substitute == NULL || substitute->probed;
  engine->alive = rf_alive_open();
  status = engine->alive == NULL ? -ENOMEM : find_wish(engine, &options, &wish);
  if (status == 0) status = probed ? probe(engine, &options, &wish) : pretend(engine);
  if (status == 0) status = choose(engine, &wish);
  if (status != 0) {
    free_engine(engine);
    return status;
  }
  pthread_mutex_init(&engine->lock, NULL);
  *out = engine;
  return 0;
}

int rf_engine_open(struct rf_engine **out, const struct rf_engine_options *options) {
  return rf_engine_open_with(out, options, NULL);
}

int rf_engine_close(struct rf_engine *engine) {
  if (engine == NULL) return 0;
  if (rf_engine_alive(engine)) {
    pthread_mutex_lock(&engine->lock);
    bool busy = engine->queues != NULL || engine->files > 0 || engine->arenas > 0;
    pthread_mutex_unlock(&engine->lock);
    if (busy) return -EBUSY;
    pthread_mutex_destroy(&engine->lock);
  }
  free_engine(engine);
  return 0;
}

/* ---- looking at it --------------------------------------------------------------------------- */

const struct rf_host *rf_engine_host(const struct rf_engine *engine) {
  return &engine->host;
}

const char *rf_engine_explanation(const struct rf_engine *engine) {
  return engine->explanation;
}

int rf_engine_counters(struct rf_engine *engine, struct rf_counters *counters) {
  struct rf_counters one;
  if (!rf_engine_alive(engine)) return -EBADF;
  pthread_mutex_lock(&engine->lock);
  *counters = engine->closed;
  for (struct rf_queue *queue = engine->queues; queue != NULL; queue = queue->next_open) {
    rf_tally_read(queue, &one);
    rf_counters_add(counters, &one);
  }
  pthread_mutex_unlock(&engine->lock);
  return 0;
}
