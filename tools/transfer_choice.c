// SPDX-License-Identifier: Apache-2.0
/* The options of the commands that transfer, and what they ask for. */
#include "transfer_choice.h"

#include <string.h>

#include "arguments.h"

#define LEAST_CHUNK (UINT64_C(1) << 20)
#define MOST_BLOCK  (UINT64_C(64) << 20)
/* Of all chunks together.  Depth beyond that could not be filled. */
#define MOST_MEMORY  (UINT64_C(1) << 30)
#define LEAST_CHUNKS 4u

void transfer_choice_init(struct transfer_choice *choice) {
  memset(choice, 0, sizeof(*choice));
  rf_pool_options_init(&choice->pool);
}

static enum tool_exit parse_block(const char *command, const char *value,
                                  struct transfer_choice *choice) {
  uint64_t bytes = 0;
  const enum tool_exit status = argument_size(command, "--block", value, &bytes);
  if (status != TOOL_OK) return status;
  if (bytes < RF_POOL_BLOCK_MIN || bytes > MOST_BLOCK)
    return tool_fail(command, TOOL_USAGE, "--block '%s': must be from 512 to 64M", value);
  choice->pool.block_size = (size_t)bytes;
  return TOOL_OK;
}

enum tool_exit transfer_choice_parse(const char *command, int found, const char *value,
                                     struct transfer_choice *choice, bool *taken) {
  *taken = true;
  switch (found) {
    case 'B':
      return backend_choice_parse(command, value, false, &choice->backend);
    case 'D':
    case 'U':
      choice->direct = found == 'D';
      return TOOL_OK;
    case 'K':
      return parse_block(command, value, choice);
    case 'Q':
      return argument_count(command, "--depth", value, 1, RF_POOL_DEPTH_MAX,
                            &choice->pool.queue_depth);
    case 'W':
      return argument_count(command, "--workers", value, 1, RF_POOL_WORKERS_MAX,
                            &choice->pool.workers);
    default:
      *taken = false;
      return TOOL_OK;
  }
}

/* Chunks of one block at least, and so many that all queues can be full. */
static enum tool_exit open_ring(const char *command, const struct rf_pool_options *pool,
                                struct transfer_session *session) {
  uint64_t chunk = (pool->block_size + 4095) / 4096 * 4096;
  if (chunk < LEAST_CHUNK) chunk = LEAST_CHUNK;
  uint64_t count = (pool->block_size * pool->queue_depth * pool->workers + chunk - 1) / chunk;
  if (count > MOST_MEMORY / chunk) count = MOST_MEMORY / chunk;
  if (count < LEAST_CHUNKS) count = LEAST_CHUNKS;
  return chunk_ring_open(&session->ring, command, session->engine, session->pool, chunk,
                         (unsigned)count);
}

enum tool_exit transfer_session_open(const char *command, const struct transfer_choice *choice,
                                     const char *directory, struct transfer_session *session) {
  const enum tool_exit status =
      backend_choice_open(command, &choice->backend, directory, 0, &session->log, &session->engine);
  if (status != TOOL_OK) return status;
  const int error = rf_pool_open(session->engine, &choice->pool, &session->pool);
  if (error != 0)
    return tool_fail(command, TOOL_FAILED, "cannot start workers: %s",
                     status_words(RF_FROM_POOL, error, &(struct status_room){0}));
  return open_ring(command, &choice->pool, session);
}

void transfer_session_stop(struct transfer_session *session) {
  chunk_ring_close(&session->ring);
  rf_pool_close(session->pool, RF_POOL_CANCEL);
  session->pool = NULL;
}

void transfer_session_close(struct transfer_session *session) {
  transfer_session_stop(session);
  rf_engine_close(session->engine);
  session->engine = NULL;
}

const char *transfer_session_backend(const struct transfer_session *session) {
  return rf_backend_name(rf_engine_host(session->engine)->selected);
}
