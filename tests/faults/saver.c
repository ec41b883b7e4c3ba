/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/saver.h"

#include <errno.h>
#include <fcntl.h>
#include <ringfall/ringfall.h>
#include <stdio.h>
#include <unistd.h>

/* Written, and then made durable; the one that failed says why. */
static int write_out(struct rf_queue *queue, struct rf_file *file, const char *text, size_t size) {
  struct rf_op ops[2] = {rf_op_write(file, text, size, 0, 1), rf_op_fsync(file, 2)};
  struct rf_completion done[2];
  ops[1].flags |= RF_OP_LINK;
  int n = rf_submit_and_wait(queue, ops, 2, NULL, done, 2, 2, RF_FOREVER);
  if (n != 2) return n < 0 ? n : -EIO;
  for (int i = 0; i < n; i++)
    if (done[i].status != 0 && done[i].status != -ECANCELED) return done[i].status;
  return 0;
}

static int write_file(struct rf_engine *engine, const char *path, const char *text, size_t size) {
  struct rf_file *file;
  struct rf_queue *queue;
  int status = rf_file_open(engine, path, O_WRONLY | O_CREAT | O_TRUNC, 0644, &file);
  if (status != 0) return status;
  status = rf_queue_open(engine, NULL, &queue);
  if (status == 0) {
    status = write_out(queue, file, text, size);
    (void)rf_queue_close(queue);
  }
  (void)rf_file_close(file);
  return status;
}

int save(struct rf_engine *engine, const char *path, const char *text, size_t size) {
  char beside[4096];
  if (snprintf(beside, sizeof(beside), "%s.new", path) >= (int)sizeof(beside)) return -ENAMETOOLONG;
  int status = write_file(engine, beside, text, size);
  if (status == 0 && rename(beside, path) != 0) status = -errno;
  if (status != 0) (void)unlink(beside);
  return status;
}
