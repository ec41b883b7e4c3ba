// SPDX-License-Identifier: Apache-2.0
/*
 * The timed run of one backend.
 *
 * A slot is a place for one op in flight: a buffer and the block it is for.  Each turn of the loop
 * checks what came back, prepares ops for the slots that became free, and hands them over in the
 * same call that waits for the next.  A wait takes at least a quarter of the depth at once, so that
 * a backend can show what batches save while the queue stays three quarters full.  The loop
 * allocates nothing.
 *
 * No two ops are in flight on one block when there are writes: what a read then finds, or which of
 * two writes is last, would be anybody's guess.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ringfall/ringfall.h>

#include "bench.h"
#include "clock.h"
#include "progress.h"
#include "stop_signals.h"

#define LOOK_NS        INT64_C(250000000) /* waits end this often to look for a signal */
#define READS_OF_MIXED 70u                /* of 100 */

struct slot {
  unsigned char *buffer;
  uint64_t block;
  bool read; /* the buffer holds what the last op, a read, brought */
};

struct run {
  const char *command;
  const struct bench_options *options;
  struct bench_file *file;
  struct bench_result *result;

  struct engine_log log;
  struct rf_engine *engine;
  struct rf_file *io_file;
  struct rf_arena *arena;
  struct rf_queue *queue;

  struct slot *slots;
  unsigned *idle; /* slots without an op: a stack */
  unsigned idle_count;
  struct rf_op *ops; /* prepared, not yet accepted */
  unsigned op_count;
  struct rf_completion *done;
  unsigned min;   /* completions a wait waits for */
  uint64_t *busy; /* a bit a block: an op is in flight on it; NULL when there are no writes */
  uint64_t cursor;
  uint64_t random;
  unsigned mix;  /* of mixed: hundredths of a write that are due */
  bool stopping; /* no more new ops */
};

/* ---- CPU time ---- */

static uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What it costs to ask for a thread's CPU time, which is a system call. */
static uint64_t clock_cost_ns(void) {
  const unsigned times = 2000;
  const uint64_t begun = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  for (unsigned i = 0; i < times; i++) clock_ns(CLOCK_THREAD_CPUTIME_ID);
  return (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begun) / (times + 1);
}

/* ---- choosing blocks ---- */

static bool is_busy(const struct run *run, uint64_t block) {
  return run->busy != NULL && (run->busy[block / 64] >> (block % 64) & 1) != 0;
}

static void set_busy(struct run *run, uint64_t block) {
  if (run->busy != NULL) run->busy[block / 64] |= UINT64_C(1) << (block % 64);
}

static void clear_busy(struct run *run, uint64_t block) {
  if (run->busy != NULL) run->busy[block / 64] &= ~(UINT64_C(1) << (block % 64));
}

static uint64_t first_choice(struct run *run) {
  const enum bench_mode mode = run->options->mode;
  if (mode != BENCH_READ && mode != BENCH_WRITE)
    return pattern_random(&run->random) % run->file->blocks;
  const uint64_t block = run->cursor;
  run->cursor = block + 1 < run->file->blocks ? block + 1 : 0;
  return block;
}

/* False if all blocks that come into question are busy.  Looking at one more block than there are
 * slots finds a free one, unless the file has no more blocks than that. */
static bool choose_block(struct run *run, uint64_t *chosen) {
  uint64_t block = first_choice(run);
  uint64_t tries = (uint64_t)run->options->depth + 1;
  if (tries > run->file->blocks) tries = run->file->blocks;
  for (; tries > 0; tries--) {
    if (!is_busy(run, block)) {
      *chosen = block;
      return true;
    }
    block = block + 1 < run->file->blocks ? block + 1 : 0;
  }
  return false;
}

/* The shares are exact in any stretch of ops, however short the run; it begins with a write. */
static bool choose_write(struct run *run) {
  if (run->options->mode != BENCH_MIXED) return bench_writes(run->options);
  run->mix += 100 - READS_OF_MIXED;
  if (run->mix < 100) return false;
  run->mix -= 100;
  return true;
}

/* ---- ops ---- */

static void prepare_op(struct run *run, unsigned index, uint64_t block) {
  struct bench_file *file = run->file;
  struct slot *slot = &run->slots[index];
  const uint64_t offset = block * file->block;
  slot->block = block;
  set_busy(run, block);
  if (choose_write(run)) {
    slot->read = false;
    file->versions[block]++;
    pattern_fill(&file->pattern, slot->buffer, file->block, offset, file->versions[block]);
    run->ops[run->op_count++] = rf_op_write(run->io_file, slot->buffer, file->block, offset, index);
    return;
  }
  slot->read = true;
  run->ops[run->op_count++] = rf_op_read(run->io_file, slot->buffer, file->block, offset, index);
}

static void prepare_ops(struct run *run) {
  uint64_t block;
  while (!run->stopping && run->idle_count > 0 && choose_block(run, &block))
    prepare_op(run, run->idle[--run->idle_count], block);
}

static void fail_run(struct run *run, const char *what, const char *why) {
  run->stopping = true;
  if (run->result->failed) return;
  run->result->failed = true;
  snprintf(run->result->why, sizeof(run->result->why), "%s: %s", what, why);
  tool_fail(run->command, TOOL_FAILED, "%s: %s: %s: %s", rf_backend_name(run->result->backend),
            run->file->path, what, why);
}

static void check_read(struct run *run, const struct slot *slot) {
  struct bench_file *file = run->file;
  struct bench_result *result = run->result;
  struct pattern_fault fault;
  if (file->content == CONTENT_FOREIGN) return;
  if (pattern_check(&file->pattern, slot->buffer, file->block, slot->block * file->block,
                    bench_file_version(file, slot->block), &fault)) {
    result->verified_bytes += file->block;
    if (result->verified == VERIFIED_NOT) result->verified = VERIFIED_YES;
    return;
  }
  run->stopping = true;
  if (result->verified != VERIFIED_WRONG)
    tool_fail(run->command, TOOL_NOT_VERIFIED, "%s: %s: the sector at offset %" PRIu64 " %s",
              rf_backend_name(result->backend), file->path, fault.offset, fault.text);
  result->verified = VERIFIED_WRONG;
}

static void take_completion(struct run *run, const struct rf_completion *done) {
  struct slot *slot = &run->slots[done->user_data];
  struct bench_result *result = run->result;
  run->idle[run->idle_count++] = (unsigned)done->user_data;
  clear_busy(run, slot->block);
  const bool whole = done->status == 0 && (uint64_t)done->bytes == run->file->block;
  if (!whole) {
    char what[64];
    struct status_room words;
    snprintf(what, sizeof(what), "cannot %s at offset %" PRIu64, slot->read ? "read" : "write",
             slot->block * run->file->block);
    slot->read = false;
    fail_run(run, what,
             done->status != 0 ? status_words(RF_FROM_OP, done->status, &words)
                               : "the file ends before");
    return;
  }
  result->bytes += run->file->block;
  if (slot->read) {
    result->reads++;
    check_read(run, slot);
  } else {
    result->writes++;
  }
}

/* ---- the loop ---- */

/* Hands over what is prepared and waits for what comes back.  Number of completions, or -errno. */
static int exchange(struct run *run) {
  unsigned accepted = 0;
  const int count = rf_submit_and_wait(run->queue, run->ops, run->op_count, &accepted, run->done,
                                       run->min, run->options->depth, LOOK_NS);
  run->op_count -= accepted;
  if (run->op_count > 0)
    memmove(run->ops, run->ops + accepted, run->op_count * sizeof(run->ops[0]));
  return count;
}

/* One turn: its own CPU time goes to *own_ns.  False when all is done. */
static bool turn(struct run *run, int count, uint64_t *own_ns) {
  const uint64_t begun = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  for (int i = 0; i < count; i++) take_completion(run, &run->done[i]);
  prepare_ops(run);
  *own_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - begun;
  return run->idle_count < run->options->depth;
}

static void loop(struct run *run) {
  const uint64_t limit_ns = (uint64_t)(run->options->seconds * 1e9);
  const char *name = rf_backend_name(run->result->backend);
  const uint64_t cost = clock_cost_ns();
  uint64_t own_ns = 0;
  uint64_t turns = 1;
  const double cpu = tool_cpu_seconds();
  const uint64_t begun = tool_now_ns();
  uint64_t passed = 0;
  for (int count = 0; turn(run, count, &own_ns); turns++) {
    count = exchange(run);
    if (count < 0) {
      struct status_room words;
      fail_run(run, "the queue failed", status_words(RF_FROM_QUEUE, count, &words));
      break;
    }
    passed = tool_now_ns() - begun;
    run->stopping = run->stopping || passed >= limit_ns || stop_signal() != 0;
    progress_show(name, passed, limit_ns);
  }
  run->result->seconds = (double)(tool_now_ns() - begun) / 1e9;
  /* What lies between the two readings of the clock is in own_ns; the rest of what asking costs
   * (a whole reading a turn) is not, and no business of the backend either. */
  run->result->check_cpu_seconds = (double)(own_ns + turns * cost) / 1e9;
  const double used = tool_cpu_seconds() - cpu - run->result->check_cpu_seconds;
  run->result->cpu_seconds = used > 0 ? used : 0;
}

/* ---- a file that bench does not know: what is in the buffers, compared with pread() ---- */

static void check_sample(struct run *run) {
  struct bench_file *file = run->file;
  struct bench_result *result = run->result;
  unsigned char *buffer = aligned_alloc(65536, (file->block + 65535) / 65536 * 65536);
  for (unsigned i = 0; buffer != NULL && i < run->options->depth; i++) {
    const struct slot *slot = &run->slots[i];
    const uint64_t offset = slot->block * file->block;
    if (!slot->read || pread(file->fd, buffer, file->block, (off_t)offset) != (ssize_t)file->block)
      continue;
    if (memcmp(buffer, slot->buffer, file->block) == 0) {
      result->verified_bytes += file->block;
      continue;
    }
    tool_fail(run->command, TOOL_NOT_VERIFIED,
              "%s: %s: pread() finds other data at offset %" PRIu64,
              rf_backend_name(result->backend), file->path, offset);
    result->verified = VERIFIED_WRONG;
    break;
  }
  free(buffer);
  if (result->verified_bytes > 0 && result->verified == VERIFIED_NOT)
    result->verified = VERIFIED_YES;
}

/* ---- setting up ---- */

static int allocate(struct run *run) {
  const unsigned depth = run->options->depth;
  const uint64_t blocks = run->file->blocks;
  run->slots = calloc(depth, sizeof(*run->slots));
  run->idle = calloc(depth, sizeof(*run->idle));
  run->ops = calloc(depth, sizeof(*run->ops));
  run->done = calloc(depth, sizeof(*run->done));
  if (bench_writes(run->options)) run->busy = calloc(blocks / 64 + 1, sizeof(*run->busy));
  const bool all = run->slots && run->idle && run->ops && run->done &&
                   (run->busy != NULL || !bench_writes(run->options));
  return all ? 0 : -ENOMEM;
}

static int open_buffers(struct run *run) {
  const unsigned depth = run->options->depth;
  const uint64_t align = run->file->info.memory_align > 1 ? run->file->info.memory_align : 1;
  uint64_t stride;
  uint64_t total;
  if (__builtin_add_overflow(run->file->block, align - 1, &stride)) return -ENOMEM;
  stride -= stride % align;
  if (__builtin_mul_overflow(stride, (uint64_t)depth, &total) || total > SIZE_MAX / 2)
    return -ENOMEM;
  const int status = rf_arena_open(run->engine, total, 0, &run->arena);
  if (status != 0) return status;
  unsigned char *base = rf_arena_base(run->arena);
  for (unsigned i = 0; i < depth; i++) {
    run->slots[i].buffer = base + i * stride;
    run->idle[i] = depth - 1 - i; /* slot 0 is on top */
  }
  run->idle_count = depth;
  return 0;
}

static int open_queue(struct run *run) {
  struct rf_queue_options options;
  rf_queue_options_init(&options);
  options.depth = run->options->depth;
  options.latency = true;
  return rf_queue_open(run->engine, &options, &run->queue);
}

static enum tool_exit set_up(struct run *run) {
  const struct backend_choice choice = {.wish = WISH_ONE, .backend = run->result->backend};
  enum tool_exit opened = backend_choice_open(run->command, &choice, run->file->directory,
                                              run->options->depth, &run->log, &run->engine);
  if (opened != TOOL_OK) {
    run->result->failed = true;
    snprintf(run->result->why, sizeof(run->result->why), "no engine could be opened");
    return opened;
  }
  int status = rf_file_from_fd(run->engine, run->file->fd, false, &run->io_file);
  if (status == 0) status = allocate(run);
  if (status == 0) status = open_buffers(run);
  if (status == 0) status = open_queue(run);
  if (status == 0) return TOOL_OK;
  struct status_room words;
  fail_run(run, "cannot set up", status_words(RF_FROM_QUEUE, status, &words));
  return TOOL_FAILED;
}

static void tear_down(struct run *run) {
  rf_queue_close(run->queue); /* waits for what is in flight: then the buffers may go */
  rf_arena_close(run->arena);
  rf_file_close(run->io_file);
  rf_engine_close(run->engine);
  free(run->busy);
  free(run->done);
  free(run->ops);
  free(run->idle);
  free(run->slots);
}

/* Reads the counters before anything else goes through the queue. */
static void measure(struct run *run) {
  struct bench_result *result = run->result;
  const unsigned depth = run->options->depth;
  run->min = depth / 4 > 0 ? depth / 4 : 1;
  run->random = run->file->pattern.seed + 1; /* the same blocks for each backend */
  run->mix = READS_OF_MIXED;
  loop(run);
  rf_queue_counters(run->queue, &result->counters);
  rf_queue_latency(run->queue, &result->latency);
  if (run->file->content == CONTENT_FOREIGN && stop_signal() == 0) check_sample(run);
}

enum tool_exit bench_run(const char *command, const struct bench_options *options,
                         struct bench_file *file, struct bench_result *result) {
  struct run run = {.command = command, .options = options, .file = file, .result = result};
  enum tool_exit status = set_up(&run);
  if (status == TOOL_OK) measure(&run);
  tear_down(&run);
  if (status == TOOL_OK && bench_writes(options) && !result->failed && stop_signal() == 0)
    status = bench_file_verify(command, file, result);
  if (status == TOOL_FAILED && !result->failed) {
    result->failed = true;
    snprintf(result->why, sizeof(result->why), "the file could not be read back");
  }
  return stop_signal() != 0 ? TOOL_STOPPED : TOOL_OK;
}
