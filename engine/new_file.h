// SPDX-License-Identifier: Apache-2.0
/*
 * A file that is not there until it is whole.
 *
 * It is made without a name (O_TMPFILE), so that nothing is left behind however the process ends;
 * publishing it links it to a hidden temporary name and renames that, which replaces an old file in
 * one step.  Where the file system has no O_TMPFILE it has the hidden name from the start:
 * ".NAME.ringfall-XXXXXX".
 */
#ifndef RINGFALL_ENGINE_NEW_FILE_H
#define RINGFALL_ENGINE_NEW_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct rf_new_file {
  int fd;                       /* open for reading and writing */
  int directory_fd;             /* where it will be */
  mode_t mode;                  /* with which it is made, less the umask */
  char name[NAME_MAX + 1];      /* its name there, once published */
  char temporary[NAME_MAX + 1]; /* the hidden name it has now; "" while it has none */
};

enum rf_new_file_kind {
  RF_NEW_FILE_TO_PUBLISH,
  RF_NEW_FILE_SCRATCH, /* will not be published: never keeps a name, not even a hidden one */
};

/* Makes it in the directory of path, with this mode less the umask.  0 or -errno; -EISDIR if path
 * ends in '/'. */
int rf_new_file_open(struct rf_new_file *file, const char *path, enum rf_new_file_kind kind,
                     mode_t mode);

/* Gives it its name.  With `replace` an old file of that name goes away in the same instant;
 * without, -EEXIST if there is one.  On failure the file is still hidden: discard it. */
int rf_new_file_publish(struct rf_new_file *file, bool replace);

/* Makes the directory's entry durable.  After rf_new_file_publish(). */
int rf_new_file_sync_directory(const struct rf_new_file *file);

/* Removes what was not published and closes the descriptors. */
void rf_new_file_close(struct rf_new_file *file);

#endif
