// SPDX-License-Identifier: Apache-2.0
/*
 * The inner part of `ringfall copy`: moves the data of one open file to another in chunks, and
 * computes the checksum of the whole content on the way.
 *
 * Each chunk is read, then written, and added to the checksum while that goes on; those behind it
 * are being read meanwhile.  So the checksum costs no second pass.
 */
#ifndef RINGFALL_TOOLS_COPY_PIPELINE_H
#define RINGFALL_TOOLS_COPY_PIPELINE_H

#include "checksum.h"
#include "chunk_ring.h"
#include "extents.h"

struct copy_pipeline {
  const char *command;
  struct chunk_ring *ring;
  struct file_end source, target; /* the target has its size already, and no data */
  uint64_t size;                  /* of the source */
  bool sync;                      /* fsync the target at the end */
  struct checksum *checksum;      /* open; NULL: none */

  uint64_t data_bytes; /* result: what was read and written; the rest is holes */

  /* Its own. */
  uint64_t cursor;      /* how far the source has been taken */
  uint64_t summed_to;   /* bytes of the source in the checksum */
  struct extent extent; /* the stretch of data that the cursor is in */
};

/* TOOL_OK; else a line was printed (but for TOOL_STOPPED) and the target is not to be used, and
 * transfers may be under way until the ring is closed. */
enum tool_exit copy_pipeline_run(struct copy_pipeline *pipeline);

#endif
