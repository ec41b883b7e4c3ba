// SPDX-License-Identifier: Apache-2.0
/*
 * <ringfall/transfer.h>: large reads and writes, split into blocks over a pool of worker threads.
 *
 *     struct rf_pool *pool;                      rf_pool_open(engine, NULL, &pool);
 *     struct rf_transfer_request request;        rf_transfer_request_init(&request);
 *     request.path = "checkpoint";
 *     request.buffer = weights;                  any address, any length, any offset
 *     request.length = size;
 *     request.flags |= RF_TRANSFER_REPLACE;      the old file or the new one, whole
 *     request.durability = RF_DURABLE_ENTRY;
 *     struct rf_transfer *token;                 rf_transfer_write(pool, &request, &token);
 *     ...                                        other work; other transfers
 *     struct rf_transfer_result result;          rf_transfer_wait(token, RF_FOREVER, &result);
 *     if (result.status != 0) ...
 *     rf_transfer_release(token);
 *
 * How data goes: where the file system accepts direct I/O, whole blocks go directly between the
 * device and the caller's memory.  What is not aligned for that goes through the pool's bounce
 * buffers (memory, and the ends of a read) or the page cache (the ends of a write).  Alignment is
 * the file's own (rf_file_info), whatever it is.  Where direct I/O is refused, be it when the file
 * is opened or when it is used (EINVAL), the rest goes through the page cache, and the result says
 * so.  The bytes are exact in any case: those asked for, and no others.
 *
 * Threads: all functions here may be called by any thread at any time, also while others wait, but
 * for rf_pool_close and rf_transfer_release, after which nobody may use what they end.  Calls on a
 * token need neither the pool nor the engine: another thread may close these meanwhile.
 * Nothing here may be called by a progress function except rf_transfer_cancel.
 *
 * Concurrency: transfers that do not overlap may run at the same time on one file, whatever their
 * alignment, also in several pools.  If two overlap and one of them writes, then which bytes are
 * found in the common part is not defined, and later syncs of the file may answer -EIO, which is
 * how the kernel tells of direct I/O that met the page cache; wait for the first before starting
 * the second.
 *
 * Locks: the descriptors that a transfer opens and closes are its own, and closing any descriptor
 * of a file drops the fcntl(2) record locks that the process holds on it.  Use open file
 * description locks (F_OFD_SETLK) or flock(2) on files that are transferred.
 */
#ifndef RINGFALL_TRANSFER_H
#define RINGFALL_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rf_engine;
struct rf_file;
struct rf_latency;
struct rf_pool;
struct rf_transfer;

/* ---- the pool -------------------------------------------------------------------------------- */

/* What the options may be; rf_pool_open answers -EINVAL to anything else. */
#define RF_POOL_WORKERS_MAX 64u                /* of rf_pool_options.workers */
#define RF_POOL_BLOCK_MIN   512u               /* of block_size, bytes */
#define RF_POOL_BLOCK_MAX   (1u << 30)         /* likewise */
#define RF_POOL_DEPTH_MAX   4096u              /* of queue_depth */
#define RF_POOL_BOUNCE_MIN  ((size_t)64 << 10) /* of bounce_limit, bytes */
#define RF_POOL_BOUNCE_MAX  ((size_t)1 << 30)  /* likewise */

/* Always begin with rf_pool_options_init(): these are the only defaults there are. */
struct rf_pool_options {
  uint32_t size;    /* sizeof(struct rf_pool_options), set by _init */
  unsigned workers; /* threads, each with a queue: 1 to RF_POOL_WORKERS_MAX; default 2 */
  /* Bytes that one request moves at most: RF_POOL_BLOCK_MIN to RF_POOL_BLOCK_MAX; default 1 MiB.
   * For direct I/O rounded up to the alignment of the file. */
  size_t block_size;
  unsigned queue_depth; /* blocks in flight a worker: 1 to RF_POOL_DEPTH_MAX; default 16 */
  /* Hand each block to the kernel in a system call of its own, instead of all that there is room
   * for in one.  Default false. */
  bool single_submit;
  /* Refill the queue as blocks complete.  False: start as many as the depth allows, wait for them
   * all, then start the next.  Default true. */
  bool overlap_events;
  /* Bytes of the pool's bounce buffers, which are allocated when first needed and never exceed
   * this: RF_POOL_BOUNCE_MIN to RF_POOL_BOUNCE_MAX; default 16 MiB. */
  size_t bounce_limit;
  /* mlock(2) the bounce buffers when the pool is opened; if that is refused (RLIMIT_MEMLOCK:
   * -ENOMEM, -EPERM, -EAGAIN) opening fails with it.  Default false: nothing is locked. */
  bool lock_bounce;
  bool latency; /* keep the histogram of rf_pool_latency(); default false */
};
/* Sets every field to its default. */
void rf_pool_options_init(struct rf_pool_options *options);

/*
 * Opens a pool on an engine, whose backend its workers use.  options may be NULL.  The workers are
 * threads of this process that block all signals; they sleep while there is nothing to do.
 * -EINVAL: an option is out of its range.  -EAGAIN: no thread could be started.  -ENOTSUP, -ENOMEM
 * and others: no queue could be opened.  -EBADF: after fork.
 */
int rf_pool_open(struct rf_engine *engine, const struct rf_pool_options *options,
                 struct rf_pool **pool);

/* What rf_pool_close() does with transfers that are not complete. */
enum rf_pool_end {
  RF_POOL_DRAIN = 0,  /* transfers go on to their end */
  RF_POOL_CANCEL = 1, /* they are cancelled, as by rf_transfer_cancel() */
};

/*
 * Ends the transfers, all of them, then the workers.  Tokens stay valid (all of them complete)
 * until they are released.  When it returns no buffer is in use any more.  In a forked child it
 * frees the child's copy of the pool only.  NULL is fine.  0, or -EINVAL: no such end.
 */
int rf_pool_close(struct rf_pool *pool, enum rf_pool_end end);

/* Waits until no transfer is unfinished, for timeout_ns at most (RF_FOREVER).  0, -ETIMEDOUT, or
 * -EBADF after fork. */
int rf_pool_wait_all(struct rf_pool *pool, int64_t timeout_ns);

/* What a pool has done. */
struct rf_transfer_counters {
  uint64_t started;        /* transfers */
  uint64_t completed;      /* of these, with any status */
  uint64_t failed;         /* of these, with a status other than 0 */
  uint64_t cancelled;      /* of these, with -ECANCELED */
  uint64_t timed_out;      /* of these, with -ETIMEDOUT */
  uint64_t bytes;          /* moved, as in the results of all completed transfers */
  uint64_t direct_bytes;   /* moved by direct I/O, by blocks that have completed */
  uint64_t buffered_bytes; /* moved through the page cache, likewise */
  uint64_t bounced_bytes;  /* copied through bounce buffers; part of direct_bytes */
  uint64_t blocks;         /* requests for data that have completed */
  uint64_t
      refused_direct;    /* transfers done through the page cache because direct I/O was refused */
  uint64_t bounce_most;  /* bytes of bounce buffers that were in use at the same time, at most */
  uint64_t bounce_waits; /* times a worker had room for a block, and no bounce buffer for it */
  uint64_t wakeups;      /* times a sleeping worker was woken by another thread */
};
/* Counts up to now.  0, or -EBADF after fork. */
int rf_pool_counters(struct rf_pool *pool, struct rf_transfer_counters *counters);

/* How long blocks took, from when a worker handed them to its queue to their completion, of all
 * workers together: 0; -ENODATA if options.latency was not set; -EBADF after fork. */
int rf_pool_latency(struct rf_pool *pool, struct rf_latency *latency);

/* ---- what to transfer ------------------------------------------------------------------------ */

/* For writes; reads do not look at them. */
enum rf_transfer_flags {
  /* By path: make the file if there is none, with request.mode less the umask. */
  RF_TRANSFER_CREATE = 1u << 0,
  /* The file ends where the transfer ends: what it has beyond is cut off before anything is
   * written.  Without, an old file keeps what is not overwritten (as for a part of a file). */
  RF_TRANSFER_TRUNCATE = 1u << 1,
  /* Where the range goes beyond the end of the file, allocate it first (fallocate).  Writes that
   * extend a file block the worker that submits them, and go one after the other; writes into
   * allocated room do not.  A full disk or a limit is met before anything is written (0 bytes,
   * -ENOSPC or -EFBIG).  If the transfer fails later, the file is cut again to the bytes that were
   * written, unless somebody else has made it longer meanwhile.  If the process or the system ends
   * meanwhile the file may have its whole length, with zeros where nothing was written: use REPLACE
   * where that matters.  File systems without fallocate get the size without the room. */
  RF_TRANSFER_PREALLOCATE = 1u << 2,
  /*
   * By path, at offset 0: write a new file beside the old one, sync it, and give it the name: at
   * any moment, also after kill -9, the name means the old file or the new one, whole.  The new
   * file is made without a name (O_TMPFILE), so that nothing is left behind by a crash.  Only if it
   * comes between the two system calls that name a file and replace another one with it, or where
   * the file system has no O_TMPFILE, a file ".NAME.ringfall-XXXXXX" may stay. The new file has the
   * permissions of the old one with its access control list (and, where that is allowed, its owner
   * and its group); if there is none, request.mode less the umask.  A symbolic link is followed:
   * what it names is replaced.  The other flags mean nothing here but PREALLOCATE.
   */
  RF_TRANSFER_REPLACE = 1u << 3,
};

/* What has to be safe from a loss of power when a write completes. */
enum rf_durability {
  RF_DURABLE_NONE = 0, /* nothing; with REPLACE still the data, before it gets its name */
  RF_DURABLE_DATA,     /* the data: fdatasync */
  RF_DURABLE_FILE,     /* the data and all about the file: fsync */
  RF_DURABLE_ENTRY, /* that, and its name: fsync of file and directory.  By descriptor as FILE. */
};

/*
 * Told of a transfer's progress: bytes of length have been moved.  Called on a worker's thread
 * after blocks have completed, never twice at the same time for one transfer, with bytes that never
 * become less.  It holds up the worker, and must not call this library, except rf_transfer_cancel.
 */
typedef void rf_transfer_progress_function(void *context, uint64_t bytes, uint64_t length);

/* Always begin with rf_transfer_request_init(). */
struct rf_transfer_request {
  uint32_t size; /* sizeof(struct rf_transfer_request), set by _init */
  /*
   * The file: exactly one of these three.
   * path: opened for the transfer.  Copied.
   * fd: the caller's descriptor, open in the direction of the transfer (default -1: none).  Its
   *   flags and offset are neither used nor changed: where it lacks O_DIRECT (or has O_APPEND) it
   *   is opened again through /proc/self/fd.  If that cannot be done the transfer goes through the
   *   page cache (and with O_APPEND fails with -EINVAL).
   * file: a file of the pool's engine; as fd, without the work of looking at it each time.
   * Descriptor and file must stay open until the transfer is complete.
   */
  const char *path;
  int fd;               /* see path */
  struct rf_file *file; /* see path */
  uint64_t offset;      /* in the file, bytes; default 0 */
  uint64_t length;      /* bytes; default 0 */
  /* The caller's until the transfer has begun, the transfer's until it is complete.  A write does
   * not write to it.  An arena's is the fastest: registered, and in huge pages. */
  void *buffer;
  unsigned flags;                /* enum rf_transfer_flags; default CREATE and PREALLOCATE */
  mode_t mode;                   /* of a file that is made; default 0666 */
  enum rf_durability durability; /* default NONE */
  bool buffered; /* go through the page cache, even where direct I/O is possible; default false */
  /* Stop it when this long has passed since it was started: -ETIMEDOUT.  RF_FOREVER (default). */
  int64_t timeout_ns;
  rf_transfer_progress_function *progress; /* default NULL */
  void *progress_context;                  /* its first argument */
  void *user;                              /* the caller's, for rf_transfer_user() */
};
/* Sets every field to its default. */
void rf_transfer_request_init(struct rf_transfer_request *request);

/*
 * The outcome.  `bytes` counts from the start of the range without a gap: all of them, and no more,
 * are certain.  (After an error or a stop, later parts of the range may have been written as well.)
 * status is
 *   0           all of it was done; a read that met the end of the file has fewer bytes than asked
 *   -ECANCELED, -ETIMEDOUT  stopped before it was complete
 *   -ENOMEM     no memory for bounce buffers
 *   -ESPIPE     the file cannot seek
 *   -EISDIR, -EBADF, -ENOSPC, -EFBIG, -EIO, ... as of open, pread, pwrite, fallocate, fsync, rename
 * After a failed sync all bytes may have been moved, and the status is that of the sync.
 */
struct rf_transfer_result {
  uint64_t bytes;          /* moved, from the start of the range without a gap */
  int32_t status;          /* 0 or -errno */
  bool direct;             /* direct I/O was used, at least for a part */
  bool refused_direct;     /* it was refused by the file system (or /proc is missing) */
  uint64_t direct_bytes;   /* moved by direct I/O, bounced or not */
  uint64_t buffered_bytes; /* moved through the page cache */
  uint64_t bounced_bytes;  /* of direct_bytes: copied through bounce buffers */
  uint64_t ns;             /* from its start to its end */
};

/* ---- starting, waiting, stopping ------------------------------------------------------------- */

/*
 * Starts a transfer and returns at once: request.length bytes at request.offset of the file into
 * the buffer, or from it.  *token stands for it and is the caller's, to be released once it is
 * complete.  Any number may be unfinished; each takes about 500 bytes.  What is wrong with the file
 * is the status of the transfer; what is wrong with the request is answered here, and there is no
 * token then:
 * -EINVAL: not exactly one file, unknown flags or durability, a range beyond what a file can have,
 *   or REPLACE without a path or at an offset.  -EFAULT: no buffer.  -ENOMEM.  -EBADF: after fork.
 */
int rf_transfer_read(struct rf_pool *pool, const struct rf_transfer_request *request,
                     struct rf_transfer **token);
/* Likewise, from the buffer into the file. */
int rf_transfer_write(struct rf_pool *pool, const struct rf_transfer_request *request,
                      struct rf_transfer **token);

/* The same, waiting for the end.  The status of the transfer, which is also in *result (may be
 * NULL), or that of starting it, with *result zeroed but for the status. */
int rf_transfer_read_sync(struct rf_pool *pool, const struct rf_transfer_request *request,
                          struct rf_transfer_result *result);
/* Likewise, from the buffer into the file. */
int rf_transfer_write_sync(struct rf_pool *pool, const struct rf_transfer_request *request,
                           struct rf_transfer_result *result);

/* Waits for its end, for timeout_ns at most (RF_FOREVER; 0: only look).  0 with *result filled (may
 * be NULL), whatever the status in it; -ETIMEDOUT: not yet, it goes on; -EBADF: after fork. */
int rf_transfer_wait(struct rf_transfer *token, int64_t timeout_ns,
                     struct rf_transfer_result *result);

/* Is it complete?  Takes no lock.  1 with *result filled (may be NULL), or 0. */
int rf_transfer_test(const struct rf_transfer *token, struct rf_transfer_result *result);

/*
 * Waits until one of count tokens is complete, and returns the index of the first that is; tokens
 * that are NULL are passed over.  -ETIMEDOUT; -EINVAL: count is above INT_MAX, or all are NULL.
 * -EBADF after fork.  All must be of one pool.
 */
int rf_transfer_wait_any(struct rf_transfer *const *tokens, size_t count, int64_t timeout_ns);

/*
 * Asks for its end: nothing new of it is started, what is in flight is stopped where it can be.  It
 * completes as soon as nothing is in flight: with -ECANCELED and the bytes moved till then, or with
 * its true result if all had been done.  A replaced file then is the old one.  Returns at once: 0,
 * also for one that is complete; -EBADF after fork.
 */
int rf_transfer_cancel(struct rf_transfer *token);

/* Gives the token back.  0, or -EBUSY, and nothing happened, while it is not complete.  In a forked
 * child it frees the child's copy.  NULL is fine. */
int rf_transfer_release(struct rf_transfer *token);

/* request.user. */
void *rf_transfer_user(const struct rf_transfer *token);

#ifdef __cplusplus
}
#endif
#endif
