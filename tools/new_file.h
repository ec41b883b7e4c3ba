// SPDX-License-Identifier: Apache-2.0
/*
 * A file that is not there until it is whole.
 *
 * It is made without a name (O_TMPFILE), so that nothing is left behind however the process ends;
 * publishing it links it to a hidden temporary name and renames that, which replaces an old file in
 * one step.  Where the file system has no O_TMPFILE it has the hidden name from the start:
 * ".NAME.ringfall-XXXXXX".
 */
#ifndef RINGFALL_TOOLS_NEW_FILE_H
#define RINGFALL_TOOLS_NEW_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct new_file {
  int fd;                       /* open for reading and writing */
  int directory_fd;             /* where it will be */
  char name[NAME_MAX + 1];      /* its name there, once published */
  char temporary[NAME_MAX + 1]; /* the hidden name it has now; "" while it has none */
};

enum new_file_kind {
  NEW_FILE_TO_PUBLISH,
  NEW_FILE_SCRATCH, /* will not be published: never keeps a name, not even a hidden one */
};

/* Makes it in the directory of path, with mode 0600.  0 or -errno; -EISDIR if path ends in '/'. */
int new_file_open(struct new_file *file, const char *path, enum new_file_kind kind);

/* Gives it its name.  With `replace` an old file of that name goes away in the same instant;
 * without, -EEXIST if there is one.  On failure the file is still hidden: discard it. */
int new_file_publish(struct new_file *file, bool replace);

/* Makes the directory's entry durable.  After new_file_publish(). */
int new_file_sync_directory(const struct new_file *file);

/* Removes what was not published and closes the descriptors. */
void new_file_close(struct new_file *file);

#endif
