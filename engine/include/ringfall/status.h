// SPDX-License-Identifier: Apache-2.0
/*
 * <ringfall/status.h>: every status that ringfall answers, what it means and what to do about it;
 * and the same as a line of text that names the op, the file, the place and the cause.
 *
 *     if (done.status != 0) {
 *       char text[RF_TEXT_SIZE];
 *       rf_op_text(&ops[done.user_data], &done, text, sizeof(text));
 *       fprintf(stderr, "%s\n", text);
 *     }
 *
 *     write of 8192 bytes at offset 4096 of /data/log by io_uring: ENOSPC (No space left on device)
 *     after 4096 bytes: the file system is full; make room, then write the rest
 *
 * A status is 0 or a negative errno (ENOTSUP and EOPNOTSUPP are one number).  The same errno may
 * mean different things, depending on whom it came from:
 *
 * From an op (rf_completion.status; `bytes` beside it counts what was moved before):
 *   -EAGAIN      it would have had to wait, and RF_OP_NOWAIT forbids that: again later, or without
 *                the flag.  Without it, as EBUSY
 *   -EBADF       no file, a descriptor that was closed meanwhile, or one that is not open in this
 *                direction
 *   -EBUSY       the kernel went on answering that for all retries (a tenth of a second): again
 *   -ECANCELED   stopped by rf_cancel(), or an op before it in its chain failed: see that one's
 *   -EDQUOT      the quota of the file's owner is used up
 *   -EFAULT      the buffer, or the array of iovecs, is not memory of this process
 *   -EFBIG       past RLIMIT_FSIZE (ulimit -f) or the largest file of the file system
 *   -EINTR       as EBUSY
 *   -EINVAL      no such op or flag, a reserved field that is not 0, a length beyond what a file
 *                can have, or direct I/O whose buffer, offset or length is not aligned: see
 *                rf_file_get_info()
 *   -EIO         the device or the file system failed.  A write may have happened, in part too
 *   -ENOMEM      the kernel was short of memory for all retries
 *   -ENOSPC      the file system is full, or the device ends there
 *   -EOPNOTSUPP  the file system cannot do this op, mode or flag
 *   -EOWNERDEAD  the backend died and took the answer along: whether it was done is not known
 *   -EPERM       the file is sealed, immutable or append-only
 *   -EPIPE       the other end of the pipe or socket is closed
 *   -ESPIPE      an op that needs an offset, on a file that cannot seek
 *   -ETIMEDOUT   stopped by its deadline
 *
 * From a transfer (rf_transfer_result.status, rf_transfer_read_sync(), ..._write_sync()):
 *   -EBADF       the descriptor is not open in this direction; or after fork
 *   -ECANCELED   stopped by rf_transfer_cancel() or by closing the pool
 *   -EFAULT      no buffer, or not memory of this process
 *   -EINVAL      the request makes no sense: not exactly one file, unknown flags, a range beyond
 *                what a file can have, REPLACE without a path or at an offset
 *   -EIO         as of an op; of a sync: what was written before may be lost
 *   -EISDIR      a directory has no bytes to transfer
 *   -ENOMEM      no memory for the transfer or its bounce buffers
 *   -ESPIPE      the file cannot seek
 *   -ETIMEDOUT   its time was over before it was complete
 *   and what an op answers, and what the system calls below answer.
 *
 * From an engine (rf_engine_...):
 *   -EBADF       after fork: a child opens an engine of its own
 *   -EBUSY       queues, files or arenas of it are open
 *   -EINVAL      an option, or RINGFALL_BACKEND, makes no sense; the log says which
 *   -ENOMEM      no memory
 *   -ENOTSUP     the backend that was required does not work here; the log says why
 *
 * From a file (rf_file_...):
 *   -EBADF       not an open descriptor (or O_PATH); or after fork
 *   -EBUSY       an op on it is in a queue
 *   -EINVAL      O_DIRECT on a file system that refuses it, or other flags that open(2) refuses
 *   -EISDIR      it is a directory
 *   -ENOMEM      no memory
 *   and what the system calls below answer.
 *
 * From an arena (rf_arena_open(), rf_arena_adopt()):
 *   -EAGAIN      (LOCKED) some of it could not be locked
 *   -EBADF       after fork
 *   -EINVAL      size 0, a flag that is not known, or no such memory
 *   -ENOMEM      no memory, or (LOCKED) more than RLIMIT_MEMLOCK
 *   -EPERM       (LOCKED) memory may not be locked
 *
 * From a queue (rf_queue_..., rf_submit(), rf_wait() and the like):
 *   -EAGAIN      it is full: reap completions first
 *   -EBADF       after fork
 *   -EBUSY       its descriptor is to be asked for while no op is in it
 *   -EINVAL      an option out of range; min above max, or max 0
 *   -ENODATA     the latency was not asked for in the options
 *   -ENOENT      nothing to cancel: no op with that user_data is in it
 *   -ENOMEM      no memory
 *   -ENOTSUP     the required backend cannot be opened; the log says why
 *   -EPERM       it belongs to another thread, the one that used it first
 *   -ETIMEDOUT   (rf_queue_close) closed, but some buffers are in the kernel's hands for ever
 *
 * From a pool and its tokens (rf_pool_..., rf_transfer_read() and the like):
 *   -EAGAIN      no thread could be started, or (lock_bounce) memory not be locked
 *   -EBADF       after fork
 *   -EBUSY       the transfer is not complete
 *   -EFAULT      no buffer
 *   -EINVAL      an option out of its range, or a request that makes no sense
 *   -ENOMEM      no memory; with lock_bounce, RLIMIT_MEMLOCK
 *   -ENOTSUP     no queue could be opened on the required backend
 *   -EPERM       (lock_bounce) memory may not be locked
 *   -ETIMEDOUT   not complete yet; it goes on
 *
 * From the probe (rf_probe_...; what it finds out about backends is in its verdicts, not here):
 *   -EBADF       not an open file, or one that was opened with O_PATH
 *   -EINVAL      a null pointer, a name that does not exist, or a depth above 65,536
 *   -EMFILE      no descriptor is left for a file to try things on
 *
 * From the system calls behind all these (open, pread, fallocate, rename, ...), wherever nothing is
 * said above:
 *   -EACCES -EEXIST -ELOOP -EMFILE -ENAMETOOLONG -ENFILE -ENODEV -ENOENT -ENOLCK -ENOSYS -ENOTDIR
 *   -ENXIO -EOVERFLOW -EROFS -ESTALE -ETXTBSY -EXDEV, with the meaning that errno(3) gives; and
 *   any other that a file system thinks of.
 *
 * Fault injection has a few of its own, for its plans: see <ringfall/fault_injection.h>.
 *
 * Threads: all functions here may be called by any thread at any time.  They allocate nothing,
 * change nothing (errno neither) and are never called by ringfall itself in a hot path.
 *
 * Texts: one line of UTF-8, without a newline; control characters in file names become '?'.
 * Functions that write one do as snprintf: they return the length of all of it, write at most size
 * bytes, the last of which is 0, and none if size is 0.  English; the words may change.
 */
#ifndef RINGFALL_STATUS_H
#define RINGFALL_STATUS_H

#include <stdbool.h>
#include <stddef.h>

#include <ringfall/op.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rf_transfer;
struct rf_transfer_request;
struct rf_transfer_result;

/* Room for any text here, unless the path alone is longer than 4000 bytes. */
#define RF_TEXT_SIZE 4608

/* Whom a status came from. */
enum rf_status_source {
  RF_FROM_OP = 0,   /* rf_completion.status */
  RF_FROM_TRANSFER, /* rf_transfer_result.status, and the _sync functions */
  RF_FROM_ENGINE,   /* rf_engine_... */
  RF_FROM_FILE,     /* rf_file_... */
  RF_FROM_ARENA,    /* rf_arena_open */
  RF_FROM_QUEUE,    /* rf_queue_..., rf_submit, rf_flush, rf_wait, rf_reap, rf_cancel */
  RF_FROM_POOL,     /* rf_pool_..., and the rf_transfer_... that start, wait and give back */
  RF_FROM_PROBE,    /* rf_probe_..., rf_backend_by_name */
  RF_STATUS_SOURCES,
};

/* "ENOSPC" for -ENOSPC; "0"; "unknown" for what has no name here.  Static string. */
const char *rf_status_name(int status);

/* What it means, e.g. "the file system is full"; "" where only the system knows: strerror(3).
 * Static string. */
const char *rf_status_meaning(enum rf_status_source source, int status);

/* What to do about it, e.g. "make room, then write the rest"; "" where that is nothing that could
 * be told from here.  Static string. */
const char *rf_status_remedy(enum rf_status_source source, int status);

/* "ENOSPC (No space left on device): the file system is full; make room, then write the rest". */
int rf_status_text(enum rf_status_source source, int status, char *text, size_t size);

/*
 * An op and its answer.  `op` is the caller's copy of what was submitted; its file must be open
 * still.  What it points to else (buffers, iovecs) is not looked at.  NULL if it is not at hand:
 * the text then has what the completion knows.  The file's name is what /proc/self/fd says of its
 * descriptor now; without /proc it is the number.
 */
int rf_op_text(const struct rf_op *op, const struct rf_completion *completion, char *text,
               size_t size);

/* A transfer that is complete, of which the token has not been released: its direction, length,
 * place, file, and result.  For one that is not complete it says so. */
int rf_transfer_text(const struct rf_transfer *token, char *text, size_t size);

/* The same for the functions that have no token: the request that they were given, whether it was
 * a write, and what they filled in.  Descriptor and file of the request must be open still. */
int rf_transfer_sync_text(const struct rf_transfer_request *request, bool write,
                          const struct rf_transfer_result *result, char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
