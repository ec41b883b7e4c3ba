// SPDX-License-Identifier: Apache-2.0
/* The inner part of `ringfall copy`: the ring of blocks. */
#include "copy_pipeline.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <ringfall/arena.h>
#include <ringfall/queue.h>

#include "extents.h"
#include "progress.h"
#include "stop_signals.h"

#define BLOCK_BYTES (UINT64_C(1) << 20)
#define BLOCKS      16u
/* Waits end this often to look for a signal. */
#define LOOK_NS INT64_C(250000000)

/* In the order in which a block goes through them. */
enum block_state {
  BLOCK_READING,
  BLOCK_WRITING, /* and ready for the checksum */
  BLOCK_WRITTEN,
};

struct block {
  enum block_state state;
  bool direct;
  unsigned char *buffer;
  uint64_t offset;
  uint64_t length;
};

/* The blocks from `oldest` to `newest` (counted without end; the place in the ring is the rest of
 * a division) are under way; those before `summed` are in the checksum. */
struct ring {
  struct copy_pipeline *pipeline;
  struct rf_arena *arena;
  struct rf_queue *queue;
  struct block blocks[BLOCKS];
  uint64_t oldest, summed, newest;
  uint64_t summed_to;           /* bytes of the source in the checksum */
  uint64_t cursor;              /* how far the source has been taken */
  struct extent extent;         /* the stretch of data the cursor is in */
  struct rf_op ops[2 * BLOCKS]; /* to be submitted */
  unsigned op_count;
  unsigned in_flight;
};

static struct block *block_at(struct ring *ring, uint64_t number) {
  return &ring->blocks[number % BLOCKS];
}

static enum tool_exit fail_at(const struct ring *ring, const char *name, const char *what,
                              uint64_t offset, int status) {
  return tool_fail(ring->pipeline->command, TOOL_FAILED, "%s: cannot %s at offset %" PRIu64 ": %s",
                   name, what, offset, strerror(-status));
}

/* ---- taking blocks from the source ---- */

/* Space for the extent before its first write: a direct write that has to find space is done
 * synchronously by most file systems, and a full disk is told at once. */
static enum tool_exit make_room(struct ring *ring, const struct extent *extent) {
  const struct copy_pipeline *p = ring->pipeline;
  if (p->target.direct == NULL || extent->start >= extent->end) return TOOL_OK;
  if (fallocate(rf_file_fd(p->target.file), 0, (off_t)extent->start,
                (off_t)(extent->end - extent->start)) == 0)
    return TOOL_OK;
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
    return fail_at(ring, p->target.name, "make room", extent->start, -errno);
  return TOOL_OK;
}

/* Moves the cursor to the next data, on to a boundary of direct I/O: extents that end within one
 * are made longer, which copies zeros. */
static enum tool_exit find_data(struct ring *ring) {
  const struct copy_pipeline *p = ring->pipeline;
  struct extent *extent = &ring->extent;
  const int status = extent_find(rf_file_fd(p->source.file), ring->cursor, p->size, extent);
  if (status != 0) return fail_at(ring, p->source.name, "look for data", ring->cursor, status);
  extent->start -= extent->start % p->align;
  if (extent->start > ring->cursor) ring->cursor = extent->start;
  const uint64_t over = extent->end % p->align;
  if (over != 0) extent->end += p->align - over;
  if (extent->end > p->size) extent->end = p->size;
  return make_room(ring, extent);
}

/* Cuts the next block off the extent: up to a multiple of the block size, and with direct I/O all
 * that is aligned, or else the tail that is not. */
static void cut_block(const struct ring *ring, struct block *block) {
  const struct copy_pipeline *p = ring->pipeline;
  block->offset = ring->cursor;
  block->length = BLOCK_BYTES - ring->cursor % BLOCK_BYTES;
  if (block->length > ring->extent.end - ring->cursor)
    block->length = ring->extent.end - ring->cursor;
  block->direct = false;
  if (p->align == 1) return;
  const uint64_t aligned = block->length - block->length % p->align;
  block->direct = aligned > 0;
  if (aligned > 0) block->length = aligned;
}

static struct rf_file *file_for(const struct copy_end *end, const struct block *block) {
  return block->direct && end->direct != NULL ? end->direct : end->file;
}

/* Starts as many reads as the ring has places for.  A tail waits until all else is written: a
 * buffered write beside direct ones in flight could bring a page of old data into the cache. */
static enum tool_exit take_blocks(struct ring *ring) {
  const struct copy_pipeline *p = ring->pipeline;
  while (ring->newest - ring->oldest < BLOCKS && ring->cursor < p->size) {
    if (ring->cursor >= ring->extent.end) {
      const enum tool_exit status = find_data(ring);
      if (status != TOOL_OK) return status;
      if (ring->extent.start >= ring->extent.end) {
        ring->cursor = p->size;
        return TOOL_OK;
      }
    }
    struct block *block = block_at(ring, ring->newest);
    cut_block(ring, block);
    if (p->align > 1 && !block->direct && ring->newest != ring->oldest) return TOOL_OK;
    block->state = BLOCK_READING;
    ring->ops[ring->op_count++] = rf_op_read(file_for(&p->source, block), block->buffer,
                                             block->length, block->offset, ring->newest % BLOCKS);
    ring->cursor += block->length;
    ring->newest++;
  }
  return TOOL_OK;
}

/* ---- completions ---- */

static enum tool_exit read_done(struct ring *ring, struct block *block,
                                const struct rf_completion *done) {
  const struct copy_pipeline *p = ring->pipeline;
  if (done->status != 0)
    return fail_at(ring, p->source.name, "read", block->offset + (uint64_t)done->bytes,
                   done->status);
  if ((uint64_t)done->bytes != block->length)
    return tool_fail(p->command, TOOL_FAILED, "%s: became shorter while it was copied",
                     p->source.name);
  block->state = BLOCK_WRITING;
  ring->ops[ring->op_count++] = rf_op_write(file_for(&p->target, block), block->buffer,
                                            block->length, block->offset, done->user_data);
  return TOOL_OK;
}

static enum tool_exit write_done(struct ring *ring, struct block *block,
                                 const struct rf_completion *done) {
  const struct copy_pipeline *p = ring->pipeline;
  if (done->status != 0)
    return fail_at(ring, p->target.name, "write", block->offset + (uint64_t)done->bytes,
                   done->status);
  if ((uint64_t)done->bytes != block->length)
    return tool_fail(p->command, TOOL_FAILED,
                     "%s: only %" PRId64 " of %" PRIu64 " bytes were written at offset %" PRIu64,
                     p->target.name, done->bytes, block->length, block->offset);
  block->state = BLOCK_WRITTEN;
  return TOOL_OK;
}

static enum tool_exit handle(struct ring *ring, const struct rf_completion *done) {
  struct block *block = &ring->blocks[done->user_data];
  if (done->kind == RF_OP_READ) return read_done(ring, block, done);
  return write_done(ring, block, done);
}

static enum tool_exit queue_failed(const struct ring *ring, int status) {
  return tool_fail(ring->pipeline->command, TOOL_FAILED, "the queue failed: %s", strerror(-status));
}

/* Hands all ops over now, so that they are under way while the checksum is computed. */
static enum tool_exit start(struct ring *ring) {
  if (ring->op_count == 0) return TOOL_OK;
  const int taken = rf_submit(ring->queue, ring->ops, ring->op_count);
  if (taken < 0) return queue_failed(ring, taken);
  ring->in_flight += (unsigned)taken;
  ring->op_count -= (unsigned)taken;
  memmove(ring->ops, ring->ops + taken, ring->op_count * sizeof(ring->ops[0]));
  const int status = rf_flush(ring->queue);
  return status == 0 ? TOOL_OK : queue_failed(ring, status);
}

static enum tool_exit wait_for_some(struct ring *ring) {
  struct rf_completion done[BLOCKS];
  if (ring->in_flight == 0) return TOOL_OK;
  const int count = rf_wait(ring->queue, done, 1, BLOCKS, LOOK_NS);
  if (count < 0) return queue_failed(ring, count);
  ring->in_flight -= (unsigned)count;
  for (int i = 0; i < count; i++) {
    const enum tool_exit status = handle(ring, &done[i]);
    if (status != TOOL_OK) return status;
  }
  return TOOL_OK;
}

/* ---- the checksum ---- */

static enum tool_exit add_bytes(struct ring *ring, const void *data, uint64_t length) {
  struct checksum *checksum = ring->pipeline->checksum;
  if (checksum != NULL && !checksum_add(checksum, data, (size_t)length))
    return tool_fail(ring->pipeline->command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  ring->summed_to += length;
  return TOOL_OK;
}

/* A hole is zeros, and may be terabytes long: looks for a signal and shows progress. */
static enum tool_exit add_hole(struct ring *ring, uint64_t end) {
  static const unsigned char zeros[64 * 1024];
  const struct copy_pipeline *p = ring->pipeline;
  if (p->checksum == NULL) ring->summed_to = end;
  while (ring->summed_to < end) {
    const uint64_t left = end - ring->summed_to;
    const enum tool_exit status =
        add_bytes(ring, zeros, left < sizeof(zeros) ? left : sizeof(zeros));
    if (status != TOOL_OK) return status;
    if (stop_signal() != 0) return TOOL_STOPPED;
    progress_show(p->command, ring->summed_to, p->size);
  }
  return TOOL_OK;
}

static enum tool_exit add_ready_blocks(struct ring *ring) {
  enum tool_exit status = TOOL_OK;
  while (status == TOOL_OK && ring->summed < ring->newest) {
    const struct block *block = block_at(ring, ring->summed);
    if (block->state == BLOCK_READING) break;
    status = add_hole(ring, block->offset);
    if (status == TOOL_OK) status = add_bytes(ring, block->buffer, block->length);
    ring->summed++;
  }
  return status;
}

static void retire(struct ring *ring) {
  while (ring->oldest < ring->summed && block_at(ring, ring->oldest)->state == BLOCK_WRITTEN) {
    ring->pipeline->data_bytes += block_at(ring, ring->oldest)->length;
    ring->oldest++;
  }
}

/* ---- all of it ---- */

static enum tool_exit step(struct ring *ring) {
  enum tool_exit status = take_blocks(ring);
  if (status == TOOL_OK) status = start(ring);
  if (status == TOOL_OK) status = add_ready_blocks(ring);
  if (status == TOOL_OK) status = wait_for_some(ring);
  if (status == TOOL_OK && stop_signal() != 0) status = TOOL_STOPPED;
  retire(ring);
  progress_show(ring->pipeline->command, ring->summed_to, ring->pipeline->size);
  return status;
}

static enum tool_exit sync_target(struct ring *ring) {
  const struct rf_op op = rf_op_fsync(ring->pipeline->target.file, 0);
  struct rf_completion done;
  int count = rf_submit_and_wait(ring->queue, &op, 1, NULL, &done, 1, 1, LOOK_NS);
  while (count == 0) count = rf_wait(ring->queue, &done, 1, 1, LOOK_NS);
  if (count < 0) return queue_failed(ring, count);
  if (done.status == 0) return TOOL_OK;
  return tool_fail(ring->pipeline->command, TOOL_FAILED, "%s: cannot sync: %s",
                   ring->pipeline->target.name, strerror(-done.status));
}

static enum tool_exit run_ring(struct ring *ring) {
  struct copy_pipeline *p = ring->pipeline;
  enum tool_exit status = TOOL_OK;
  while (status == TOOL_OK &&
         (ring->cursor < p->size || ring->oldest < ring->newest || ring->op_count > 0))
    status = step(ring);
  if (status == TOOL_OK) status = add_hole(ring, p->size);
  if (status == TOOL_OK && p->sync) status = sync_target(ring);
  p->backend = rf_queue_backend(ring->queue);
  return status;
}

static int open_ring(struct ring *ring) {
  struct copy_pipeline *p = ring->pipeline;
  int status = rf_arena_open(p->engine, BLOCKS * BLOCK_BYTES, 0, &ring->arena);
  if (status != 0) return status;
  unsigned char *base = rf_arena_base(ring->arena);
  for (unsigned i = 0; i < BLOCKS; i++) ring->blocks[i].buffer = base + i * BLOCK_BYTES;
  struct rf_queue_options options;
  rf_queue_options_init(&options);
  options.depth = BLOCKS; /* a block has one op in flight at a time */
  return rf_queue_open(p->engine, &options, &ring->queue);
}

enum tool_exit copy_pipeline_run(struct copy_pipeline *pipeline) {
  struct ring *ring = calloc(1, sizeof(*ring));
  if (ring == NULL) return tool_fail(pipeline->command, TOOL_FAILED, "no memory");
  ring->pipeline = pipeline;
  const int opened = open_ring(ring);
  enum tool_exit status = opened == 0 ? run_ring(ring)
                                      : tool_fail(pipeline->command, TOOL_FAILED,
                                                  "cannot open a queue: %s", strerror(-opened));
  rf_queue_close(ring->queue); /* waits for what is in flight: then the arena may go */
  rf_arena_close(ring->arena);
  free(ring);
  return status;
}
