// SPDX-License-Identifier: Apache-2.0
/* The inner part of `ringfall copy`. */
#include "copy_pipeline.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "progress.h"
#include "stop_signals.h"

static enum tool_exit fail_at(const struct copy_pipeline *p, const char *name, const char *what,
                              uint64_t offset, int status) {
  return tool_fail(p->command, TOOL_FAILED, "%s: cannot %s at offset %" PRIu64 ": %s", name, what,
                   offset, strerror(-status));
}

/* ---- reading ---- */

/* Space for the extent before its first write: a direct write that has to find space is done
 * synchronously by most file systems, and a full disk is told at once. */
static enum tool_exit make_room(const struct copy_pipeline *p, const struct extent *extent) {
  if (p->target.buffered || extent->start >= extent->end) return TOOL_OK;
  if (fallocate(rf_file_fd(p->target.file), 0, (off_t)extent->start,
                (off_t)(extent->end - extent->start)) == 0)
    return TOOL_OK;
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
    return fail_at(p, p->target.name, "make room", extent->start, -errno);
  return TOOL_OK;
}

/* Moves the cursor to the next data, if there is more. */
static enum tool_exit find_data(struct copy_pipeline *p) {
  const int status = extent_find(rf_file_fd(p->source.file), p->cursor, p->size, &p->extent);
  if (status != 0) return fail_at(p, p->source.name, "look for data", p->cursor, status);
  p->cursor = p->extent.start;
  return make_room(p, &p->extent);
}

/* Starts as many reads as there are places for. */
static enum tool_exit read_ahead(struct copy_pipeline *p) {
  enum tool_exit status = TOOL_OK;
  while (status == TOOL_OK && p->cursor < p->size && chunk_ring_has_place(p->ring)) {
    if (p->cursor >= p->extent.end) status = find_data(p);
    if (status != TOOL_OK || p->cursor >= p->extent.end) continue;
    const uint64_t length = chunk_length(p->ring, p->cursor, p->extent.end);
    status = chunk_ring_read(p->ring, &p->source, p->cursor, length);
    p->cursor += length;
  }
  return status;
}

/* ---- the checksum ---- */

static enum tool_exit add_bytes(struct copy_pipeline *p, const void *data, uint64_t length) {
  if (p->checksum != NULL && !checksum_add(p->checksum, data, (size_t)length))
    return tool_fail(p->command, TOOL_FAILED, "libcrypto cannot compute a checksum");
  p->summed_to += length;
  return TOOL_OK;
}

/* A hole is zeros, and may be terabytes long: looks for a signal and shows progress. */
static enum tool_exit add_hole(struct copy_pipeline *p, uint64_t end) {
  static const unsigned char zeros[64 * 1024];
  if (p->checksum == NULL) p->summed_to = end;
  while (p->summed_to < end) {
    const uint64_t left = end - p->summed_to;
    const enum tool_exit status = add_bytes(p, zeros, left < sizeof(zeros) ? left : sizeof(zeros));
    if (status != TOOL_OK) return status;
    if (stop_signal() != 0) return TOOL_STOPPED;
    progress_show(p->command, p->summed_to, p->size);
  }
  return TOOL_OK;
}

/* ---- all of it ---- */

static enum tool_exit pass_on(struct copy_pipeline *p) {
  struct chunk *chunk;
  enum tool_exit status = chunk_ring_use(p->ring, &chunk);
  if (status == TOOL_OK) status = chunk_write(p->ring, chunk, &p->target);
  if (status == TOOL_OK) status = add_hole(p, chunk->offset);
  if (status == TOOL_OK) status = add_bytes(p, chunk->data, chunk->length);
  p->data_bytes += chunk->length;
  return status;
}

static enum tool_exit step(struct copy_pipeline *p) {
  enum tool_exit status = read_ahead(p);
  const bool work = chunk_ring_has_next(p->ring);
  if (status == TOOL_OK && work) status = pass_on(p);
  if (status == TOOL_OK) status = chunk_ring_reclaim(p->ring, !work);
  progress_show(p->command, p->summed_to, p->size);
  return status;
}

static enum tool_exit sync_target(struct copy_pipeline *p) {
  struct rf_transfer_request request;
  rf_transfer_request_init(&request);
  request.file = p->target.file;
  request.durability = RF_DURABLE_FILE;
  const int status = rf_transfer_write_sync(p->ring->pool, &request, NULL);
  if (status == 0) return TOOL_OK;
  return tool_fail(p->command, TOOL_FAILED, "%s: cannot sync: %s", p->target.name,
                   status_words(RF_FROM_TRANSFER, status, &(struct status_room){0}));
}

enum tool_exit copy_pipeline_run(struct copy_pipeline *p) {
  enum tool_exit status = TOOL_OK;
  while (status == TOOL_OK && (p->cursor < p->size || chunk_ring_has_next(p->ring)))
    status = step(p);
  if (status == TOOL_OK) status = chunk_ring_drain(p->ring);
  if (status == TOOL_OK) status = add_hole(p, p->size);
  return status == TOOL_OK && p->sync ? sync_target(p) : status;
}
