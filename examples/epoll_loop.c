// SPDX-License-Identifier: Apache-2.0
/*
 * A queue in an epoll loop, beside a timer and the standard input: reads a file with many blocks in
 * flight, while the loop goes on ticking and takes lines.  Ends when the file has been read and the
 * input has ended.  Nothing here waits anywhere but in epoll_wait.
 *
 * The three rules of rf_queue_fd():
 *   1. Ask for it before the first op, and do nothing with it but watch it.
 *   2. When it is readable, reap until nothing comes: it is level-triggered, and stays readable as
 *      long as something is left.
 *   3. rf_flush() before you go to sleep: rf_submit() only collects.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <ringfall/ringfall.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define BLOCK 65536u
#define DEPTH 16u /* blocks in flight */

enum source { QUEUE, TIMER, INPUT };

struct reader {
  struct rf_file *file;
  struct rf_queue *queue;
  unsigned char *blocks; /* DEPTH of them */
  uint64_t next;         /* offset of the next read */
  unsigned in_flight;
  bool ended; /* a block came short: nothing is behind it */
  uint64_t bytes, sum, completions;
};

static void die(const char *what, const char *why) {
  fprintf(stderr, "epoll_loop: %s: %s\n", what, why);
  exit(1);
}

static int check(const char *what, enum rf_status_source source, int status) {
  char text[RF_TEXT_SIZE];
  if (status >= 0) return status;
  rf_status_text(source, status, text, sizeof(text));
  die(what, text);
  return status;
}

/* As check(), for system calls. */
static int check_call(const char *what, int result) {
  if (result < 0) die(what, strerror(errno));
  return result;
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

/* The descriptor was readable. */
static void on_queue(struct reader *reader) {
  struct rf_completion done[DEPTH];
  int count;
  while ((count = check("reap", RF_FROM_QUEUE, rf_reap(reader->queue, done, DEPTH))) > 0)
    for (int i = 0; i < count; i++) take(reader, &done[i]);
}

static uint64_t on_timer(int timer) {
  uint64_t times = 0; /* that it ran out since it was last asked */
  if (read(timer, &times, sizeof(times)) < 0 && errno != EAGAIN) die("timer", strerror(errno));
  return times;
}

/* How many lines; *open becomes false at the end of the input. */
static unsigned on_input(bool *open) {
  char text[4096];
  unsigned lines = 0;
  ssize_t count = read(STDIN_FILENO, text, sizeof(text));
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return 0;
  check_call("standard input", (int)count);
  if (count == 0) *open = false;
  for (ssize_t i = 0; i < count; i++) lines += text[i] == '\n';
  return lines;
}

static int watch(int epoll, int fd, enum source source) {
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = source};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv) {
  int tick_ms = argc == 3 ? atoi(argv[2]) : 100;
  if (argc < 2 || argc > 3 || tick_ms < 1) {
    fprintf(stderr, "usage: epoll_loop FILE [TICK_MS]\n");
    return 2;
  }
  struct rf_engine *engine;
  struct reader reader = {.blocks = malloc((size_t)DEPTH * BLOCK)};
  if (reader.blocks == NULL) die("memory", strerror(errno));
  check("engine", RF_FROM_ENGINE, rf_engine_open(&engine, NULL));
  check(argv[1], RF_FROM_FILE, rf_file_open(engine, argv[1], O_RDONLY, 0, &reader.file));

  /* The default policy: no call of the queue waits for a device, so the loop never stands still. */
  check("queue", RF_FROM_QUEUE, rf_queue_open(engine, NULL, &reader.queue));
  int queue_fd = check("queue's descriptor", RF_FROM_QUEUE, rf_queue_fd(reader.queue));

  int epoll = check_call("epoll", epoll_create1(EPOLL_CLOEXEC));
  int timer = check_call("timer", timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  struct timespec every = {tick_ms / 1000, tick_ms % 1000 * 1000000L};
  struct itimerspec spec = {.it_interval = every, .it_value = every};
  check_call("timer", timerfd_settime(timer, 0, &spec, NULL));
  check_call("epoll", watch(epoll, queue_fd, QUEUE));
  check_call("epoll", watch(epoll, timer, TIMER));
  /* A file as standard input is always ready, which epoll refuses to watch: it counts as ended. */
  bool input_open = watch(epoll, STDIN_FILENO, INPUT) == 0;
  if (!input_open && errno != EPERM) die("standard input", strerror(errno));

  uint64_t ticks = 0, lines = 0, inputs = 0, wakeups = 0;
  for (unsigned block = 0; block < DEPTH; block++) read_next(&reader, block);
  while (reader.in_flight > 0 || input_open) {
    struct epoll_event events[3];
    check("flush", RF_FROM_QUEUE, rf_flush(reader.queue));
    int count = epoll_wait(epoll, events, 3, -1);
    if (count < 0 && errno == EINTR) continue;
    check_call("epoll_wait", count);
    wakeups++;
    for (int i = 0; i < count; i++) {
      if (events[i].data.u32 == QUEUE) on_queue(&reader);
      if (events[i].data.u32 == TIMER) {
        ticks += on_timer(timer);
        printf("tick %" PRIu64 ": %" PRIu64 " bytes\n", ticks, reader.bytes);
        fflush(stdout);
      }
      if (events[i].data.u32 == INPUT) {
        inputs++;
        lines += on_input(&input_open);
        if (!input_open) check_call("epoll", epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL));
      }
    }
  }
  printf("read %" PRIu64 " bytes, sum %" PRIu64 ", by %" PRIu64 " reads; %" PRIu64
         " ticks, %" PRIu64 " lines in %" PRIu64 " pieces; woken %" PRIu64 " times\n",
         reader.bytes, reader.sum, reader.completions, ticks, lines, inputs, wakeups);

  close(timer);
  close(epoll);
  check("queue", RF_FROM_QUEUE, rf_queue_close(reader.queue));
  check(argv[1], RF_FROM_FILE, rf_file_close(reader.file));
  check("engine", RF_FROM_ENGINE, rf_engine_close(engine));
  free(reader.blocks);
  return fflush(stdout) == 0 ? 0 : 1;
}
