// SPDX-License-Identifier: Apache-2.0
/* The data on its way through a command. */
#include "chunk_ring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <ringfall/queue.h>

#include "stop_signals.h"

/* Waits end this often to look for a signal. */
#define LOOK_NS INT64_C(250000000)
/* Where in a page a chunk's data begins is where in the file it does: no direct I/O asks for more.
 */
#define PAGE UINT64_C(4096)

static struct chunk *chunk_at(const struct chunk_ring *ring, uint64_t number) {
  return &ring->chunks[number % ring->count];
}

/* ---- opening and closing ---- */

static int open_chunks(struct chunk_ring *ring, struct rf_engine *engine) {
  ring->chunks = calloc(ring->count, sizeof(*ring->chunks));
  if (ring->chunks == NULL) return -ENOMEM;
  const int status =
      rf_arena_open(engine, (size_t)(ring->count * ring->chunk_bytes), 0, &ring->arena);
  if (status != 0) return status;
  unsigned char *base = rf_arena_base(ring->arena);
  for (unsigned i = 0; i < ring->count; i++) ring->chunks[i].memory = base + i * ring->chunk_bytes;
  return 0;
}

enum tool_exit chunk_ring_open(struct chunk_ring *ring, const char *command,
                               struct rf_engine *engine, struct rf_pool *pool, uint64_t chunk_bytes,
                               unsigned count) {
  *ring = (struct chunk_ring){
      .command = command, .pool = pool, .count = count, .chunk_bytes = chunk_bytes};
  const int status = open_chunks(ring, engine);
  if (status == 0) return TOOL_OK;
  chunk_ring_close(ring);
  return tool_fail(command, TOOL_FAILED, "no memory for data: %s",
                   status_words(RF_FROM_ARENA, status, &(struct status_room){0}));
}

void chunk_ring_close(struct chunk_ring *ring) {
  for (unsigned i = 0; ring->chunks != NULL && i < ring->count; i++)
    if (ring->chunks[i].token != NULL) rf_transfer_cancel(ring->chunks[i].token);
  for (unsigned i = 0; ring->chunks != NULL && i < ring->count; i++) {
    if (ring->chunks[i].token == NULL) continue;
    rf_transfer_wait(ring->chunks[i].token, RF_FOREVER, NULL);
    rf_transfer_release(ring->chunks[i].token);
  }
  rf_arena_close(ring->arena);
  free(ring->chunks);
  memset(ring, 0, sizeof(*ring));
}

/* ---- transfers ---- */

uint64_t chunk_length(const struct chunk_ring *ring, uint64_t offset, uint64_t end) {
  const uint64_t length = ring->chunk_bytes - offset % ring->chunk_bytes;
  return length < end - offset ? length : end - offset;
}

struct chunk *chunk_ring_take(struct chunk_ring *ring, uint64_t offset, uint64_t length) {
  struct chunk *chunk = chunk_at(ring, ring->newest++);
  chunk->state = CHUNK_FULL;
  chunk->data = chunk->memory + offset % PAGE;
  chunk->offset = offset;
  chunk->length = length;
  return chunk;
}

static enum tool_exit start(struct chunk_ring *ring, struct chunk *chunk, struct file_end *end,
                            bool write) {
  struct rf_transfer_request request;
  rf_transfer_request_init(&request);
  request.file = end->file;
  request.buffered = end->buffered;
  request.flags = write ? end->flags : 0;
  request.offset = chunk->offset;
  request.length = chunk->length;
  request.buffer = chunk->data;
  chunk->end = end;
  const int status = write ? rf_transfer_write(ring->pool, &request, &chunk->token)
                           : rf_transfer_read(ring->pool, &request, &chunk->token);
  if (status != 0)
    return tool_fail(ring->command, TOOL_FAILED, "%s: cannot start at offset %" PRIu64 ": %s",
                     end->name, chunk->offset,
                     status_words(RF_FROM_POOL, status, &(struct status_room){0}));
  chunk->state = write ? CHUNK_WRITING : CHUNK_READING;
  return TOOL_OK;
}

enum tool_exit chunk_ring_read(struct chunk_ring *ring, struct file_end *end, uint64_t offset,
                               uint64_t length) {
  return start(ring, chunk_ring_take(ring, offset, length), end, false);
}

enum tool_exit chunk_write(struct chunk_ring *ring, struct chunk *chunk, struct file_end *end) {
  return start(ring, chunk, end, true);
}

void chunk_drop(struct chunk *chunk) {
  chunk->state = CHUNK_EMPTY;
}

static void learn(const struct chunk_ring *ring, struct file_end *end,
                  const struct rf_transfer_result *result) {
  end->direct_bytes += result->direct_bytes;
  if (!result->refused_direct || end->refused_direct) return;
  end->refused_direct = true;
  tool_note(ring->command, "%s: %s refuses O_DIRECT; going through the page cache", end->name,
            rf_file_get_info(end->file)->file_system);
}

static enum tool_exit judge(const struct chunk_ring *ring, const struct chunk *chunk,
                            const struct rf_transfer_result *result) {
  const bool reading = chunk->state == CHUNK_READING;
  if (result->status != 0)
    return tool_fail(ring->command, TOOL_FAILED, "%s: cannot %s at offset %" PRIu64 ": %s",
                     chunk->end->name, reading ? "read" : "write", chunk->offset + result->bytes,
                     status_words(RF_FROM_TRANSFER, result->status, &(struct status_room){0}));
  if (result->bytes == chunk->length) return TOOL_OK;
  return tool_fail(ring->command, TOOL_FAILED, "%s: became shorter while it was read",
                   chunk->end->name);
}

/* Waits for its transfer, if it has one, and takes the result. */
static enum tool_exit finish(struct chunk_ring *ring, struct chunk *chunk) {
  struct rf_transfer_result result;
  if (chunk->token == NULL) return TOOL_OK;
  while (rf_transfer_wait(chunk->token, LOOK_NS, &result) != 0)
    if (stop_signal() != 0) return TOOL_STOPPED;
  rf_transfer_release(chunk->token);
  chunk->token = NULL;
  learn(ring, chunk->end, &result);
  const enum tool_exit status = judge(ring, chunk, &result);
  chunk->state = chunk->state == CHUNK_READING ? CHUNK_FULL : CHUNK_EMPTY;
  return status != TOOL_OK || stop_signal() == 0 ? status : TOOL_STOPPED;
}

/* ---- in order ---- */

enum tool_exit chunk_ring_use(struct chunk_ring *ring, struct chunk **chunk) {
  *chunk = chunk_at(ring, ring->next++);
  return finish(ring, *chunk);
}

static bool is_over(const struct chunk *chunk) {
  return chunk->token == NULL ? chunk->state == CHUNK_EMPTY : rf_transfer_test(chunk->token, NULL);
}

enum tool_exit chunk_ring_reclaim(struct chunk_ring *ring, bool wait) {
  while (ring->oldest < ring->next && (wait || is_over(chunk_at(ring, ring->oldest)))) {
    const enum tool_exit status = finish(ring, chunk_at(ring, ring->oldest));
    if (status != TOOL_OK) return status;
    ring->oldest++;
    wait = false;
  }
  return TOOL_OK;
}

enum tool_exit chunk_ring_drain(struct chunk_ring *ring) {
  enum tool_exit status = TOOL_OK;
  while (status == TOOL_OK && ring->oldest < ring->next) status = chunk_ring_reclaim(ring, true);
  return status;
}
