// SPDX-License-Identifier: Apache-2.0
/* The least that does I/O: an engine, a queue, one read.  Prints the first bytes of a file. */
#include <fcntl.h>
#include <ringfall/ringfall.h>
#include <stdio.h>

/* A status means different things from an engine, a file, a queue and an op: say whose it is. */
static int fail(const char *what, enum rf_status_source source, int status) {
  char text[RF_TEXT_SIZE];
  rf_status_text(source, status, text, sizeof(text));
  fprintf(stderr, "minimal: %s: %s\n", what, text);
  return 1;
}

struct io {
  struct rf_engine *engine; /* decides, once, which backend works here */
  struct rf_file *file;
  struct rf_queue *queue; /* of this thread: a queue belongs to the thread that uses it */
};

static int open_all(struct io *io, const char *path) {
  int status = rf_engine_open(&io->engine, NULL);
  if (status != 0) return fail("engine", RF_FROM_ENGINE, status);
  status = rf_file_open(io->engine, path, O_RDONLY, 0, &io->file);
  if (status != 0) return fail(path, RF_FROM_FILE, status);
  status = rf_queue_open(io->engine, NULL, &io->queue);
  return status == 0 ? 0 : fail("queue", RF_FROM_QUEUE, status);
}

static int print_beginning(struct io *io) {
  /* The buffer and the file are the op's until its completion is here. */
  static char buffer[4096];
  struct rf_op op = rf_op_read(io->file, buffer, sizeof(buffer), 0, 1);
  struct rf_completion done;
  int status = rf_submit_and_wait(io->queue, &op, 1, NULL, &done, 1, 1, RF_FOREVER);
  if (status < 0) return fail("wait", RF_FROM_QUEUE, status);

  /* Whether the read went well, the completion says, not the call.  Fewer bytes than asked for and
   * status 0: the file ends there. */
  if (done.status != 0) {
    char text[RF_TEXT_SIZE];
    rf_op_text(&op, &done, text, sizeof(text));
    fprintf(stderr, "minimal: %s\n", text);
    return 1;
  }
  fprintf(stderr, "%d bytes, read by %s\n", (int)done.bytes,
          rf_backend_name((enum rf_backend_id)done.backend));
  if (fwrite(buffer, 1, (size_t)done.bytes, stdout) == (size_t)done.bytes && fflush(stdout) == 0)
    return 0;
  perror("minimal: stdout");
  return 1;
}

/* What was opened last goes first.  What was not opened is NULL, which is fine. */
static int close_all(struct io *io) {
  int status = rf_queue_close(io->queue);
  if (status != 0) return fail("queue", RF_FROM_QUEUE, status);
  status = rf_file_close(io->file);
  if (status != 0) return fail("file", RF_FROM_FILE, status);
  status = rf_engine_close(io->engine);
  return status == 0 ? 0 : fail("engine", RF_FROM_ENGINE, status);
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: minimal FILE\n");
    return 2;
  }
  struct io io = {NULL, NULL, NULL};
  int failed = open_all(&io, argv[1]) || print_beginning(&io);
  return close_all(&io) || failed;
}
