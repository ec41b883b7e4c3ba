// SPDX-License-Identifier: Apache-2.0
/*
 * <ringfall/engine.h>: the engine: the choice of a backend, and the reasons for it.
 *
 * Threads: an engine may be used by all threads at once.
 */
#ifndef RINGFALL_ENGINE_H
#define RINGFALL_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include <ringfall/counters.h>
#include <ringfall/verdict.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rf_engine;

/* How a backend is chosen. */
enum rf_choice {
  RF_CHOICE_AUTO = 0, /* the best that works: io_uring, else libaio, else threads */
  RF_CHOICE_PREFER,   /* `backend` if it works, else as AUTO; the log says when it did not */
  RF_CHOICE_REQUIRE,  /* `backend`, or rf_engine_open and rf_queue_open fail */
};

/* How important a message is. */
enum rf_log_level {
  RF_LOG_ERROR = 0,
  RF_LOG_WARNING = 1, /* something was refused, and ringfall goes on with less */
  RF_LOG_INFO = 2,    /* what was chosen */
};

/* Takes one message: a line of UTF-8 without a newline, valid during the call.  Called on the
 * thread that is calling into the library, perhaps on several at once.  Must not call ringfall. */
typedef void rf_log_function(void *context, enum rf_log_level level, const char *message);

/* Always begin with rf_engine_options_init(): fields added later keep their defaults that way. */
struct rf_engine_options {
  uint32_t size;              /* sizeof(struct rf_engine_options), set by _init */
  enum rf_choice choice;      /* default AUTO */
  enum rf_backend_id backend; /* which one, for PREFER and REQUIRE */
  /*
   * By default the environment variable RINGFALL_BACKEND overrides choice and backend:
   * "auto", "NAME" or "prefer:NAME", "require:NAME", with NAME as in rf_backend_name().  It is not
   * read in set-user-ID programs (secure_getenv), nor when this is true.
   */
  bool ignore_environment;
  /* The directory in which the probe does its real reads and writes.  Copied.  NULL (default): a
   * file in memory. */
  const char *directory;
  /* Let a forked child try each backend first, for hosts whose seccomp filter kills instead of
   * answering.  Default false. */
  bool probe_in_child;
  unsigned depth; /* the depth that the probe asks the backends for; 0 (default): 128 */
  /* Default NULL: messages are dropped; or, if the environment variable RINGFALL_LOG is "error",
   * "warning" or "info", go to stderr, those of that level and the more important ones.  As
   * RINGFALL_BACKEND, it is not read in set-user-ID programs, nor with ignore_environment. */
  rf_log_function *log;
  void *log_context; /* the first argument of log; default NULL */
};

/* Sets every field to its default. */
void rf_engine_options_init(struct rf_engine_options *options);

/*
 * Probes the host and decides.  options may be NULL.  *engine is the caller's, to be closed.
 * -EINVAL: an option or RINGFALL_BACKEND makes no sense (the log says which).
 * -ENOTSUP: the required backend does not work here (the log says why; so does rf_probe_host()).
 * -ENOMEM, and what else the system may answer.
 */
int rf_engine_open(struct rf_engine **engine, const struct rf_engine_options *options);

/* Closes it.  -EBUSY, and nothing happened, while queues, files or arenas of it are open.  In a
 * forked child it frees the child's copy whatever is open.  NULL is fine. */
int rf_engine_close(struct rf_engine *engine);

/* What the probe found when the engine was opened.  `selected` is what this engine chose, which is
 * not always what `auto` would have; backends that did not matter for that were not tried (verdict
 * `tried` is false): rf_probe_host() tries them all.  Valid until the engine is closed. */
const struct rf_host *rf_engine_host(const struct rf_engine *engine);

/* One sentence: which backend was chosen, at whose wish, and why not a better one.  Valid until the
 * engine is closed. */
const char *rf_engine_explanation(const struct rf_engine *engine);

/* The sum over all queues of this engine, closed ones included.  0 or -errno. */
int rf_engine_counters(struct rf_engine *engine, struct rf_counters *counters);

#ifdef __cplusplus
}
#endif
#endif
