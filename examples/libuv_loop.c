// SPDX-License-Identifier: Apache-2.0
/*
 * A queue in libuv's loop: what epoll_loop.c does by hand.  Reads a file with many blocks in
 * flight, beside a timer and the standard input, and ends when both the file and the input have.
 *
 *   uv_poll_t     watches rf_queue_fd(); its callback reaps until nothing comes.
 *   uv_prepare_t  runs just before the loop goes to sleep: the place for rf_flush().
 *
 * The loop and the queue belong to one thread, the one that runs uv_run().
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <ringfall/ringfall.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define BLOCK 65536u
#define DEPTH 16u /* blocks in flight */

struct reader {
  struct rf_file *file;
  struct rf_queue *queue;
  unsigned char *blocks; /* DEPTH of them */
  uint64_t next;         /* offset of the next read */
  unsigned in_flight;
  bool ended; /* a block came short: nothing is behind it */
  uint64_t bytes, sum, completions;

  uv_poll_t completions_ready, input_ready;
  uv_timer_t timer;
  uv_prepare_t before_sleep;
  uv_check_t after_sleep;
  bool input_open;
  uint64_t ticks, lines, inputs, wakeups;
};

static void die(const char *what, const char *why) {
  fprintf(stderr, "libuv_loop: %s: %s\n", what, why);
  exit(1);
}

static int check(const char *what, enum rf_status_source source, int status) {
  char text[RF_TEXT_SIZE];
  if (status >= 0) return status;
  rf_status_text(source, status, text, sizeof(text));
  die(what, text);
  return status;
}

/* As check(), for libuv's calls. */
static void check_uv(const char *what, int status) {
  if (status < 0) die(what, uv_strerror(status));
}

/* The loop runs as long as a handle is open, so the last one out closes them all. */
static void end_if_done(struct reader *reader) {
  if (reader->in_flight > 0 || reader->input_open) return;
  uv_close((uv_handle_t *)&reader->completions_ready, NULL);
  uv_close((uv_handle_t *)&reader->timer, NULL);
  uv_close((uv_handle_t *)&reader->before_sleep, NULL);
  uv_close((uv_handle_t *)&reader->after_sleep, NULL);
}

/* Starts the next read into this block.  There is room: a queue takes 128 ops, if not told
 * otherwise. */
static void read_next(struct reader *reader, unsigned block) {
  struct rf_op op =
      rf_op_read(reader->file, reader->blocks + (size_t)block * BLOCK, BLOCK, reader->next, block);
  check("submit", RF_FROM_QUEUE, rf_submit(reader->queue, &op, 1));
  reader->next += BLOCK;
  reader->in_flight++;
}

static void take(struct reader *reader, const struct rf_completion *done) {
  const unsigned char *block = reader->blocks + done->user_data * BLOCK;
  reader->in_flight--;
  reader->completions++;
  if (done->status != 0) {
    char text[RF_TEXT_SIZE];
    rf_op_text(NULL, done, text, sizeof(text));
    die("read", text);
  }
  reader->bytes += (uint64_t)done->bytes;
  for (int64_t i = 0; i < done->bytes; i++) reader->sum += block[i];
  /* ringfall continues what the kernel cuts short, so fewer bytes are the end of the file. */
  if (done->bytes < BLOCK) reader->ended = true;
  if (!reader->ended) read_next(reader, (unsigned)done->user_data);
}

static void on_queue(uv_poll_t *handle, int status, int events) {
  struct reader *reader = handle->data;
  struct rf_completion done[DEPTH];
  int count;
  (void)events;
  check_uv("queue's descriptor", status);
  while ((count = check("reap", RF_FROM_QUEUE, rf_reap(reader->queue, done, DEPTH))) > 0)
    for (int i = 0; i < count; i++) take(reader, &done[i]);
  if (reader->in_flight == 0) check_uv("poll", uv_poll_stop(handle));
  end_if_done(reader);
}

static void on_timer(uv_timer_t *handle) {
  struct reader *reader = handle->data;
  printf("tick %" PRIu64 ": %" PRIu64 " bytes\n", ++reader->ticks, reader->bytes);
  fflush(stdout);
}

static void on_input(uv_poll_t *handle, int status, int events) {
  struct reader *reader = handle->data;
  char text[4096];
  (void)events;
  check_uv("standard input", status);
  ssize_t count = read(STDIN_FILENO, text, sizeof(text));
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (count < 0) die("standard input", strerror(errno));
  reader->inputs++;
  for (ssize_t i = 0; i < count; i++) reader->lines += text[i] == '\n';
  if (count > 0) return;
  reader->input_open = false;
  uv_close((uv_handle_t *)handle, NULL);
  end_if_done(reader);
}

static void on_before_sleep(uv_prepare_t *handle) {
  struct reader *reader = handle->data;
  check("flush", RF_FROM_QUEUE, rf_flush(reader->queue));
}

static void on_after_sleep(uv_check_t *handle) {
  ((struct reader *)handle->data)->wakeups++;
}

/* The handles have their callbacks' data, and are started. */
static void start_handles(uv_loop_t *loop, struct reader *reader, unsigned tick_ms) {
  int queue_fd = check("queue's descriptor", RF_FROM_QUEUE, rf_queue_fd(reader->queue));
  check_uv("poll", uv_poll_init(loop, &reader->completions_ready, queue_fd));
  check_uv("timer", uv_timer_init(loop, &reader->timer));
  check_uv("prepare", uv_prepare_init(loop, &reader->before_sleep));
  check_uv("check", uv_check_init(loop, &reader->after_sleep));
  reader->completions_ready.data = reader->timer.data = reader->before_sleep.data =
      reader->after_sleep.data = reader->input_ready.data = reader;
  check_uv("poll", uv_poll_start(&reader->completions_ready, UV_READABLE, on_queue));
  check_uv("timer", uv_timer_start(&reader->timer, on_timer, tick_ms, tick_ms));
  check_uv("prepare", uv_prepare_start(&reader->before_sleep, on_before_sleep));
  check_uv("check", uv_check_start(&reader->after_sleep, on_after_sleep));

  /* A file as standard input is always ready, which libuv refuses to watch: it counts as ended. */
  int status = uv_poll_init(loop, &reader->input_ready, STDIN_FILENO);
  if (status != UV_EPERM) {
    check_uv("standard input", status);
    check_uv("standard input", uv_poll_start(&reader->input_ready, UV_READABLE, on_input));
    reader->input_open = true;
  }
}

int main(int argc, char **argv) {
  int tick_ms = argc == 3 ? atoi(argv[2]) : 100;
  if (argc < 2 || argc > 3 || tick_ms < 1) {
    fprintf(stderr, "usage: libuv_loop FILE [TICK_MS]\n");
    return 2;
  }
  struct rf_engine *engine;
  struct reader reader;
  memset(&reader, 0, sizeof(reader));
  reader.blocks = malloc((size_t)DEPTH * BLOCK);
  if (reader.blocks == NULL) die("memory", strerror(ENOMEM));
  check("engine", RF_FROM_ENGINE, rf_engine_open(&engine, NULL));
  check(argv[1], RF_FROM_FILE, rf_file_open(engine, argv[1], O_RDONLY, 0, &reader.file));

  /* The default policy: no call of the queue waits for a device, so the loop never stands still. */
  check("queue", RF_FROM_QUEUE, rf_queue_open(engine, NULL, &reader.queue));

  uv_loop_t loop;
  check_uv("loop", uv_loop_init(&loop));
  start_handles(&loop, &reader, (unsigned)tick_ms);
  for (unsigned block = 0; block < DEPTH; block++) read_next(&reader, block);
  check_uv("loop", uv_run(&loop, UV_RUN_DEFAULT));
  check_uv("loop", uv_loop_close(&loop)); /* before the queue, whose descriptor it watched */

  printf("read %" PRIu64 " bytes, sum %" PRIu64 ", by %" PRIu64 " reads; %" PRIu64
         " ticks, %" PRIu64 " lines in %" PRIu64 " pieces; woken %" PRIu64 " times\n",
         reader.bytes, reader.sum, reader.completions, reader.ticks, reader.lines, reader.inputs,
         reader.wakeups);
  check("queue", RF_FROM_QUEUE, rf_queue_close(reader.queue));
  check(argv[1], RF_FROM_FILE, rf_file_close(reader.file));
  check("engine", RF_FROM_ENGINE, rf_engine_close(engine));
  free(reader.blocks);
  return fflush(stdout) == 0 ? 0 : 1;
}
