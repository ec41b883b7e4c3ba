// SPDX-License-Identifier: Apache-2.0
/* The options of the commands that transfer (copy, read, write, verify), and what they ask for. */
#ifndef RINGFALL_TOOLS_TRANSFER_CHOICE_H
#define RINGFALL_TOOLS_TRANSFER_CHOICE_H

#include <getopt.h>

#include "backend_choice.h"
#include "chunk_ring.h"

/* The options as one sees them in --help. */
#define TRANSFER_CHOICE_HELP                                                                       \
  "  --backend X      io_uring, libaio or threads, and no other; auto: the best that works,\n"     \
  "                   whatever RINGFALL_BACKEND says\n"                                            \
  "  --direct         past the page cache (O_DIRECT), but for ends that are not aligned; where\n"  \
  "                   that is refused, through it, with a note\n"                                  \
  "  --buffered       through the page cache (the default)\n"                                      \
  "  --block SIZE     bytes of one request to the kernel (default 1M, 512 to 64M)\n"               \
  "  --depth N        requests in flight for each worker (default 16, 1 to 4096)\n"                \
  "  --workers N      threads (default 2, 1 to 64)\n"

struct transfer_choice {
  struct backend_choice backend;
  bool direct;
  struct rf_pool_options pool;
};

/* As getopt_long() returns them; none is a letter of another option. */
#define TRANSFER_CHOICE_OPTIONS                                                                    \
  {"backend", required_argument, NULL, 'B'}, {"direct", no_argument, NULL, 'D'},                   \
      {"buffered", no_argument, NULL, 'U'}, {"block", required_argument, NULL, 'K'},               \
      {"depth", required_argument, NULL, 'Q'}, {                                                   \
    "workers", required_argument, NULL, 'W'                                                        \
  }

void transfer_choice_init(struct transfer_choice *choice);

/* Takes an option if it is one of these: *taken.  TOOL_OK, or TOOL_USAGE and a line. */
enum tool_exit transfer_choice_parse(const char *command, int found, const char *value,
                                     struct transfer_choice *choice, bool *taken);

/* An engine, a pool on it, and chunks for it. */
struct transfer_session {
  struct engine_log log;
  struct rf_engine *engine;
  struct rf_pool *pool;
  struct chunk_ring ring;
};

/* directory: where the engine tries what works (NULL: in memory).  TOOL_OK, or a line was printed.
 * To be closed in any case; may be zeroed then. */
enum tool_exit transfer_session_open(const char *command, const struct transfer_choice *choice,
                                     const char *directory, struct transfer_session *session);

/* Stops what is under way and waits for it.  The files of the engine are to be closed before the
 * engine, and after the transfers: hence in two parts. */
void transfer_session_stop(struct transfer_session *session);
void transfer_session_close(struct transfer_session *session);

/* The engine's backend. */
const char *transfer_session_backend(const struct transfer_session *session);

#endif
