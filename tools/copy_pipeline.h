// SPDX-License-Identifier: Apache-2.0
/*
 * The inner part of `ringfall copy`: moves the data of one open file to another with many blocks in
 * flight, and computes the checksum of the whole content on the way.
 *
 * Blocks are taken from a ring in the order of their offsets.  Each is read, then at once written,
 * and added to the checksum as soon as all before it have been; its place is used again when it is
 * both written and added.  So reading, writing and the checksum go on at the same time, and the
 * checksum costs no second pass.
 */
#ifndef RINGFALL_TOOLS_COPY_PIPELINE_H
#define RINGFALL_TOOLS_COPY_PIPELINE_H

#include <stdbool.h>
#include <stdint.h>

#include <ringfall/engine.h>
#include <ringfall/file.h>

#include "checksum.h"
#include "tool.h"

/* One end.  For direct I/O there are two descriptors: what is not aligned (the tail) goes through
 * the page cache. */
struct copy_end {
  const char *name;       /* as the user called it, for messages */
  struct rf_file *file;   /* buffered */
  struct rf_file *direct; /* with O_DIRECT; NULL: not wanted, or refused */
};

struct copy_pipeline {
  const char *command;
  struct rf_engine *engine;
  struct copy_end source, target; /* the target has its size already, and no data */
  uint64_t size;                  /* of the source */
  uint64_t align;                 /* for direct I/O at either end; 1 when there is none */
  bool sync;                      /* fsync the target at the end */
  struct checksum *checksum;      /* open; NULL: none */

  uint64_t data_bytes;        /* result: what was read and written; the rest is holes */
  enum rf_backend_id backend; /* result: the queue's backend at the end */
};

/* TOOL_OK; else a line was printed (but for TOOL_STOPPED) and the target is not to be used.  When
 * it returns nothing is in flight any more. */
enum tool_exit copy_pipeline_run(struct copy_pipeline *pipeline);

#endif
