// SPDX-License-Identifier: Apache-2.0
/*
 * The data on its way through a command: a ring of chunks of one arena.  Chunks are filled in
 * order, each by a read transfer or by the command; used in order; and emptied by a write transfer,
 * or at once.  Many are on their way at the same time: while the command looks at one, those behind
 * it are being read, and those before it written.
 *
 * What a chunk's transfer has to do about alignment, ends, O_DIRECT and its refusal is the
 * library's.
 */
#ifndef RINGFALL_TOOLS_CHUNK_RING_H
#define RINGFALL_TOOLS_CHUNK_RING_H

#include <stdbool.h>
#include <stdint.h>

#include <ringfall/arena.h>
#include <ringfall/file.h>
#include <ringfall/transfer.h>

#include "tool.h"

/* One file that chunks are read from or written to. */
struct file_end {
  const char *name; /* as the user called it, for messages */
  struct rf_file *file;
  bool buffered;         /* through the page cache, even where direct I/O is possible */
  unsigned flags;        /* of writes: enum rf_transfer_flags */
  uint64_t direct_bytes; /* result: moved past the page cache */
  bool refused_direct;   /* result: that was refused, and a note was printed */
};

enum chunk_state {
  CHUNK_READING,
  CHUNK_FULL,
  CHUNK_WRITING,
  CHUNK_EMPTY,
};

struct chunk {
  enum chunk_state state;
  unsigned char *memory; /* chunk_bytes of it */
  unsigned char *data;   /* in it, where direct I/O can take it */
  uint64_t offset, length;
  struct file_end *end;      /* of its transfer */
  struct rf_transfer *token; /* NULL: none */
};

/* Counted without end; the place in the ring is the rest of a division.  Those from `oldest` to
 * `next` are in use or being written, those from `next` to `newest` not yet used. */
struct chunk_ring {
  const char *command;
  struct rf_pool *pool;
  struct rf_arena *arena;
  struct chunk *chunks;
  unsigned count;
  uint64_t chunk_bytes;
  uint64_t oldest, next, newest;
};

/* TOOL_OK, or a line was printed.  chunk_bytes: a multiple of 4096. */
enum tool_exit chunk_ring_open(struct chunk_ring *ring, const char *command,
                               struct rf_engine *engine, struct rf_pool *pool, uint64_t chunk_bytes,
                               unsigned count);

/* Stops what is under way, and waits for that.  May be called on a zeroed one. */
void chunk_ring_close(struct chunk_ring *ring);

/* Is there a place for one more? */
static inline bool chunk_ring_has_place(const struct chunk_ring *ring) {
  return ring->newest - ring->oldest < ring->count;
}

/* Is there one that was read, or is being read, and was not used yet? */
static inline bool chunk_ring_has_next(const struct chunk_ring *ring) {
  return ring->next < ring->newest;
}

/* How long a chunk is that begins at offset, of what ends at end: chunks end at multiples of their
 * size. */
uint64_t chunk_length(const struct chunk_ring *ring, uint64_t offset, uint64_t end);

/* Takes a place, of which there must be one.  The chunk counts as full: fill it before it is used.
 */
struct chunk *chunk_ring_take(struct chunk_ring *ring, uint64_t offset, uint64_t length);

/* The functions below return TOOL_OK; TOOL_STOPPED after a signal; else a line was printed. */

/* Takes a place and starts reading into it. */
enum tool_exit chunk_ring_read(struct chunk_ring *ring, struct file_end *end, uint64_t offset,
                               uint64_t length);

/* The next one in order, waiting for its read. */
enum tool_exit chunk_ring_use(struct chunk_ring *ring, struct chunk **chunk);

/* Starts writing it.  Its data may still be looked at. */
enum tool_exit chunk_write(struct chunk_ring *ring, struct chunk *chunk, struct file_end *end);

/* There is no more use for it. */
void chunk_drop(struct chunk *chunk);

/* Frees the places of those that are empty or written.  If `wait`, waits until there is at least
 * one free place more, or none is in use. */
enum tool_exit chunk_ring_reclaim(struct chunk_ring *ring, bool wait);

/* Waits for all of them. */
enum tool_exit chunk_ring_drain(struct chunk_ring *ring);

#endif
