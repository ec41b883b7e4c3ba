// SPDX-License-Identifier: Apache-2.0
/*
 * <ringfall/file.h>: an open file, and what was learned of it.
 *
 * Threads: a file may be used by all queues of its engine at once.
 */
#ifndef RINGFALL_FILE_H
#define RINGFALL_FILE_H

#include <stdbool.h>
#include <sys/types.h>

#include <ringfall/verdict.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rf_engine;
struct rf_file;

/*
 * Opens path as open(2) does; O_CLOEXEC is added.  With O_DIRECT, on a file system that refuses
 * it, this fails as open(2) does (-EINVAL): rf_file_get_info() of a buffered one tells beforehand.
 * -errno of open(2), -ENOMEM, -EISDIR for any directory.
 */
int rf_file_open(struct rf_engine *engine, const char *path, int flags, mode_t mode,
                 struct rf_file **file);

/*
 * Takes a descriptor that is already open.  With `own` it is closed together with the file (not
 * when this call fails).  Without, it stays the caller's and must stay open until the file is
 * closed; its flags (O_DIRECT, O_APPEND, O_NONBLOCK) are those of now and must not change.
 * -EBADF, -EISDIR, -ENOMEM.
 */
int rf_file_from_fd(struct rf_engine *engine, int fd, bool own, struct rf_file **file);

/*
 * Closes it.  -EBUSY, and nothing happened, while an op on it is in any queue (accepted and not yet
 * completed).  NULL is fine.
 *
 * A ring with which it was registered may hold the open file a moment longer: until the next call
 * on that queue, or, of a queue that is closed, until the kernel has taken the ring apart, which it
 * does later and by itself.  Who takes a lock by flock(2), or unmounts right after, does that with
 * another descriptor, or opens the queue with `registered` = false.
 */
int rf_file_close(struct rf_file *file);

/* The descriptor.  Stays the file's. */
int rf_file_fd(const struct rf_file *file);

/* What was learned when it was opened: file system, alignment, O_DIRECT.  Valid until it is
 * closed.  The size is that of the opening. */
const struct rf_file_info *rf_file_get_info(const struct rf_file *file);

#ifdef __cplusplus
}
#endif
#endif
