// SPDX-License-Identifier: Apache-2.0
/*
 * One trial: a pool with the candidate's options moves a window of the file, in four transfers that
 * are each started anew when they are complete until the time is over, so that its queues stay
 * full. Making and checking the data is outside of the time that is measured.
 *
 * Before a read the stamp of each sector in the buffer is wiped out, and before a write the data
 * gets a new version: what the trial did not move is not mistaken for what it did.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "stop_signals.h"
#include "tune.h"

#define LOOK_NS INT64_C(250000000) /* waits end this often to look for a signal */
#define SAMPLE  (UINT64_C(256) << 10)

struct trial {
  struct tune *tune;
  struct tune_direction *direction;
  const struct tune_point *point;
  struct rf_pool *pool;
  struct rf_transfer *tokens[TUNE_PIECES];
  uint64_t offset; /* of the window */
  uint64_t bytes;  /* moved */
  int status;      /* of the first transfer that failed */
  bool direct;
};

/* ---- data ------------------------------------------------------------------------------------ */

static void prepare(struct trial *trial) {
  struct tune_file *file = &trial->tune->file;
  if (trial->direction->side == TUNE_READ) {
    for (uint64_t at = 0; at < file->window; at += PATTERN_SECTOR) memset(file->buffer + at, 0, 8);
    return;
  }
  const uint32_t version = ++file->version;
  pattern_fill(&file->pattern, file->buffer, file->window, trial->offset, version);
  for (uint64_t at = 0; at < file->window; at += TUNE_UNIT)
    file->versions[(trial->offset + at) / TUNE_UNIT] = version;
}

static enum tool_exit check_read(struct trial *trial) {
  struct tune *tune = trial->tune;
  struct tune_file *file = &tune->file;
  struct pattern_fault fault;
  for (uint64_t at = 0; at < file->window; at += TUNE_UNIT) {
    const uint64_t offset = trial->offset + at;
    if (pattern_check(&file->pattern, file->buffer + at, TUNE_UNIT, offset,
                      file->versions[offset / TUNE_UNIT], &fault))
      continue;
    return tool_fail(tune_command_name, TOOL_NOT_VERIFIED,
                     "%s: %s read a sector at offset %" PRIu64 " that %s", tune->options.directory,
                     rf_backend_name(trial->point->backend), fault.offset, fault.text);
  }
  trial->direction->verified_bytes += file->window;
  return TOOL_OK;
}

/* A part of each piece; all of the file is compared at the end. */
static enum tool_exit check_written(struct trial *trial) {
  struct tune *tune = trial->tune;
  const uint64_t piece = tune->file.window / TUNE_PIECES;
  enum tool_exit status = TOOL_OK;
  for (unsigned i = 0; i < TUNE_PIECES && status == TOOL_OK; i++) {
    const uint64_t at = pattern_random(&tune->random) % (piece / SAMPLE) * SAMPLE;
    status = tune_file_check(tune, trial->offset + i * piece + at, SAMPLE);
    if (status == TOOL_OK) trial->direction->verified_bytes += SAMPLE;
  }
  return status;
}

/* ---- moving ---------------------------------------------------------------------------------- */

static void start(struct trial *trial, unsigned index) {
  struct tune *tune = trial->tune;
  const uint64_t piece = tune->file.window / TUNE_PIECES;
  struct rf_transfer_request request;
  rf_transfer_request_init(&request);
  request.file = tune->files[trial->point->backend];
  request.flags = 0;
  request.offset = trial->offset + index * piece;
  request.length = piece;
  request.buffer = tune->file.buffer + index * piece;
  const int status = trial->direction->side == TUNE_READ
                         ? rf_transfer_read(trial->pool, &request, &trial->tokens[index])
                         : rf_transfer_write(trial->pool, &request, &trial->tokens[index]);
  if (status != 0 && trial->status == 0) trial->status = status;
}

static void take(struct trial *trial, unsigned index) {
  struct rf_transfer_result result;
  rf_transfer_wait(trial->tokens[index], 0, &result);
  rf_transfer_release(trial->tokens[index]);
  trial->tokens[index] = NULL;
  trial->bytes += result.bytes;
  trial->direct = result.direct;
  const uint64_t piece = trial->tune->file.window / TUNE_PIECES;
  int status = result.status;
  if (status == 0 && result.bytes != piece) status = -EIO; /* the file cannot end there */
  if (trial->status == 0) trial->status = status;
}

static void cancel_all(struct trial *trial) {
  for (unsigned i = 0; i < TUNE_PIECES; i++)
    if (trial->tokens[i] != NULL) rf_transfer_cancel(trial->tokens[i]);
}

static void move(struct trial *trial) {
  const uint64_t until = tool_now_ns() + trial->tune->slice_ns;
  int index;
  for (unsigned i = 0; i < TUNE_PIECES; i++) start(trial, i);
  /* Ends with -EINVAL when no token is left. */
  while ((index = rf_transfer_wait_any(trial->tokens, TUNE_PIECES, LOOK_NS)) != -EINVAL) {
    if (stop_signal() != 0) cancel_all(trial);
    if (index < 0) continue;
    take(trial, (unsigned)index);
    if (trial->status == 0 && stop_signal() == 0 && tool_now_ns() < until)
      start(trial, (unsigned)index);
  }
}

static void measure(struct trial *trial, struct tune_figures *figures) {
  static struct rf_latency latency;
  const double cpu = tool_cpu_seconds();
  const uint64_t begun = tool_now_ns();
  move(trial);
  const double seconds = (double)(tool_now_ns() - begun) / 1e9;
  const double gib = (double)trial->bytes / (1 << 30);
  figures->mib_per_second = (double)trial->bytes / (1 << 20) / seconds;
  figures->cpu_per_gib = gib > 0 ? (tool_cpu_seconds() - cpu) / gib : 0;
  if (rf_pool_latency(trial->pool, &latency) != 0) memset(&latency, 0, sizeof(latency));
  figures->p50_us = (double)rf_latency_at(&latency, 0.5) / 1e3;
  figures->p99_us = (double)rf_latency_at(&latency, 0.99) / 1e3;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int open_pool(struct trial *trial) {
  const struct tune_point *point = trial->point;
  struct rf_pool_options options;
  rf_pool_options_init(&options);
  options.block_size = point->block;
  options.queue_depth = point->depth;
  options.workers = point->workers;
  options.single_submit = point->single_submit;
  options.overlap_events = point->overlap;
  options.latency = true;
  return rf_pool_open(trial->tune->engines[point->backend], &options, &trial->pool);
}

static enum tool_exit judge(struct trial *trial) {
  if (stop_signal() != 0) return TOOL_STOPPED;
  if (trial->status != 0)
    return tool_fail(tune_command_name, TOOL_FAILED, "%s: cannot %s with %s: %s",
                     trial->tune->options.directory, tune_side_name(trial->direction->side),
                     rf_backend_name(trial->point->backend),
                     status_words(RF_FROM_TRANSFER, trial->status, &(struct status_room){0}));
  trial->direction->direct = trial->direct;
  return trial->direction->side == TUNE_READ ? check_read(trial) : check_written(trial);
}

static void keep(struct tune_candidate *candidate, const struct tune_figures *figures) {
  if (candidate->trials < TUNE_TRIALS) candidate->trial[candidate->trials++] = *figures;
}

enum tool_exit tune_trial(struct tune *tune, struct tune_direction *direction, unsigned candidate,
                          struct tune_figures *figures) {
  struct tune_candidate *tried = &direction->candidates[candidate];
  struct trial trial = {.tune = tune, .direction = direction, .point = &tried->point};
  const uint64_t begun = tool_now_ns();
  memset(figures, 0, sizeof(*figures));
  if (tried->failed != 0) return TOOL_OK;
  tried->failed = open_pool(&trial); /* too many workers, or too deep for aio-max-nr */
  if (tried->failed != 0) return TOOL_OK;
  trial.offset = tune_file_next(&tune->file);
  prepare(&trial);
  measure(&trial, figures);
  rf_pool_close(trial.pool, RF_POOL_DRAIN);
  const enum tool_exit status = judge(&trial);
  if (status == TOOL_OK) keep(tried, figures);
  direction->trials++;
  const double cost = (double)(tool_now_ns() - begun);
  tune->trial_ns = tune->trial_ns == 0 ? cost : 0.9 * tune->trial_ns + 0.1 * cost;
  return status;
}
