// SPDX-License-Identifier: Apache-2.0
/* A file to read from: a regular one or a block device. */
#ifndef RINGFALL_TOOLS_SOURCE_FILE_H
#define RINGFALL_TOOLS_SOURCE_FILE_H

#include <sys/stat.h>

#include "tool.h"

/* "is a directory", ...  For what is not a regular file. */
const char *file_kind(const struct stat *stat);

struct source_file {
  const char *name;
  int fd;           /* -1: not open */
  struct stat stat; /* as it was when it was opened */
};

/* TOOL_OK, or a line was printed. */
enum tool_exit source_file_open(const char *command, const char *name, struct source_file *source);
void source_file_close(struct source_file *source); /* also one that is not open */

/* The same size (`size` bytes) and time of change as when it was opened?  A copy of a file that was
 * being written is neither its old nor its new content.  Devices have no such time.  TOOL_OK, or a
 * line was printed. */
enum tool_exit source_file_unchanged(const char *command, const struct source_file *source,
                                     uint64_t size);

#endif
