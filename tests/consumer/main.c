// SPDX-License-Identifier: Apache-2.0
/* A program of somebody else's: sees the public headers only, and does real I/O. */
#define _POSIX_C_SOURCE 200809L /* fileno */

#include <ringfall/ringfall.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
  struct rf_engine *engine;
  struct rf_queue *queue;
  struct rf_file *file;
  struct rf_completion done[2];
  FILE *scratch = tmpfile();
  char back[6] = "";

  if (scratch == NULL || rf_engine_open(&engine, NULL) != 0) return EXIT_FAILURE;
  if (rf_file_from_fd(engine, fileno(scratch), false, &file) != 0) return EXIT_FAILURE;
  if (rf_queue_open(engine, NULL, &queue) != 0) return EXIT_FAILURE;

  struct rf_op ops[2] = {rf_op_write(file, "hello", 6, 0, 1), rf_op_read(file, back, 6, 0, 2)};
  ops[1].flags |= RF_OP_LINK;
  if (rf_submit_and_wait(queue, ops, 2, NULL, done, 2, 2, RF_FOREVER) != 2) return EXIT_FAILURE;
  if (done[1].status != 0 || strcmp(back, "hello") != 0) return EXIT_FAILURE;

  printf("ringfall %s on %s\n", rf_version_string(), rf_backend_name(rf_queue_backend(queue)));
  return rf_queue_close(queue) != 0 || rf_file_close(file) != 0 || rf_engine_close(engine) != 0;
}
