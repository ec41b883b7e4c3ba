// SPDX-License-Identifier: Apache-2.0
/* A file that appears, or is replaced, in one step when it is whole. */
#ifndef RINGFALL_TOOLS_TARGET_FILE_H
#define RINGFALL_TOOLS_TARGET_FILE_H

#include <limits.h>
#include <sys/stat.h>

#include "engine/new_file.h"
#include "tool.h"

struct target_file {
  const char *name;    /* as the user called it */
  char path[PATH_MAX]; /* that, or what it points to if it is a symbolic link */
  bool exists;         /* there is an old one */
  struct stat old;     /* of that */
  struct rf_new_file new_file;
};

/* May be closed from here on. */
void target_file_init(struct target_file *target, const char *name);

/* Makes the new file beside the old one.  source: must be another file; may be NULL.  TOOL_OK, or a
 * line was printed. */
enum tool_exit target_file_open(const char *command, struct target_file *target,
                                const char *source_name, const struct stat *source);

/* Its directory, for the engine's probe. */
void target_file_directory(const char *path, char directory[PATH_MAX]);

/* Gives it its name, and makes that durable.  TOOL_OK, or a line was printed. */
enum tool_exit target_file_publish(const char *command, struct target_file *target, bool sync);

/* Removes what was not published. */
void target_file_close(struct target_file *target);

/* 0666 less the umask. */
mode_t target_file_default_mode(void);

#endif
