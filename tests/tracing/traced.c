// SPDX-License-Identifier: Apache-2.0
/*
 * A program to attach tracers to:
 *
 *     traced FILE [WORD OF A PLAN]...
 *
 * Writes 8 blocks of 4 KiB to FILE (user_data 100 to 107), syncs it (200), reads a block past its
 * end (300).  With the words of a plan of faults (<ringfall/fault_injection.h>) its backends go
 * wrong.
 */
#include <fcntl.h>
#include <ringfall/fault_injection.h>
#include <ringfall/ringfall.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 4096, BLOCKS = 8, OPS = BLOCKS + 2 };

static int fail(const char *what, int status) {
  fprintf(stderr, "traced: %s: %s\n", what, strerror(-status));
  return 1;
}

int main(int argc, char **argv) {
  static char data[BLOCK], back[BLOCK];
  struct rf_fault_plan plan;
  struct rf_fault_injector *injector;
  struct rf_engine *engine;
  struct rf_file *file;
  struct rf_queue *queue;
  struct rf_op ops[OPS];
  struct rf_completion done[OPS];
  char text[512] = "seed=1";
  if (argc < 2) {
    fprintf(stderr, "usage: traced FILE [WORD OF A PLAN]...\n");
    return 2;
  }
  for (int i = 2; i < argc; i++) {
    size_t at = strlen(text);
    snprintf(text + at, sizeof(text) - at, " %s", argv[i]);
  }
  int status = rf_fault_plan_parse(text, &plan, NULL);
  if (status != 0) return fail("plan", status);
  if ((status = rf_fault_injector_open(&plan, &injector)) != 0) return fail("injector", status);
  if ((status = rf_fault_engine_open(injector, &engine, NULL)) != 0) return fail("engine", status);
  status = rf_file_open(engine, argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600, &file);
  if (status != 0) return fail(argv[1], status);
  if ((status = rf_queue_open(engine, NULL, &queue)) != 0) return fail("queue", status);

  for (unsigned i = 0; i < BLOCKS; i++)
    ops[i] = rf_op_write(file, data, BLOCK, (uint64_t)i * BLOCK, 100 + i);
  ops[BLOCKS] = rf_op_fdatasync(file, 200);
  ops[BLOCKS].flags |= RF_OP_LINK;
  ops[BLOCKS + 1] = rf_op_read(file, back, BLOCK, (uint64_t)BLOCKS * BLOCK, 300);
  int n = rf_submit_and_wait(queue, ops, OPS, NULL, done, OPS, OPS, RF_FOREVER);
  if (n != OPS) return fail("wait", n);
  status = rf_queue_close(queue) || rf_file_close(file) || rf_engine_close(engine);
  rf_fault_injector_close(injector);
  return status;
}
