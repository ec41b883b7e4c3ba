// SPDX-License-Identifier: Apache-2.0
/*
 * <ringfall/op.h>: an op, the request for one piece of I/O; and its completion, the one answer.
 *
 * Ops are plain values: fill one with the functions below, change what you need, and hand it to
 * rf_submit(), which copies it.  What it points to (buffers, the array of iovecs, the file) stays
 * the caller's and must stay as it is until the completion has been reaped.
 */
#ifndef RINGFALL_OP_H
#define RINGFALL_OP_H

#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rf_file;

/* What an op does. */
enum rf_op_kind {
  RF_OP_NOP = 0, /* does nothing, through the backend */
  RF_OP_READ,
  RF_OP_WRITE,
  RF_OP_READV,
  RF_OP_WRITEV,
  RF_OP_FSYNC,     /* data and metadata of the file as of the moment it is started */
  RF_OP_FDATASYNC, /* data, and the metadata needed to read it back */
  RF_OP_FALLOCATE, /* fallocate(2) with op.mode */
  RF_OP_DISCARD,   /* the range need not be kept: see rf_op_discard() */
  RF_OP_KINDS,
};
const char *rf_op_name(enum rf_op_kind kind); /* "read", ...; "unknown".  Static string. */

/* How it does that: rf_op.flags. */
enum rf_op_flags {
  /* Complete with what the first call to the kernel moved, instead of going on until all is done,
   * end of file, or an error.  (Lengths over 1 GiB take several calls all the same; the first that
   * falls short ends them.) */
  RF_OP_ALLOW_SHORT = 1u << 0,
  /* Start only when the op accepted by this queue just before has completed with status 0; if it
   * completes with another status, this one completes with -ECANCELED, and so do those linked to
   * it.  Holds across calls of rf_submit, so a chain may be cut anywhere by a full queue.  On the
   * first op of a queue it means nothing. */
  RF_OP_LINK = 1u << 1,
  /* The write is durable when it completes, as with O_DSYNC. */
  RF_OP_DSYNC = 1u << 2,
  /* Rather fail with -EAGAIN than wait: what is in the page cache, or can be written without
   * blocking.  (RWF_NOWAIT; -EOPNOTSUPP where the file system lacks it.) */
  RF_OP_NOWAIT = 1u << 3,
  /* Poll for the completion where file and device can (RWF_HIPRI).  Needs O_DIRECT. */
  RF_OP_HIPRI = 1u << 4,
};

/* A request for one piece of I/O. */
struct rf_op {
  uint8_t kind;         /* enum rf_op_kind */
  uint8_t flags;        /* enum rf_op_flags */
  uint16_t ioprio;      /* I/O priority as for ioprio_set(2); 0 = the thread's */
  int32_t mode;         /* FALLOCATE: as in fallocate(2) */
  struct rf_file *file; /* not for NOP */
  union {
    void *buf;               /* READ, WRITE (which does not write to it) */
    const struct iovec *iov; /* READV, WRITEV: any number, also above UIO_MAXIOV */
  };
  uint64_t len;         /* bytes; for READV and WRITEV the number of iovecs */
  uint64_t offset;      /* bytes from the start of the file; not used on files that cannot seek */
  uint64_t user_data;   /* comes back in the completion; need not be unique, but for rf_cancel */
  uint64_t deadline_ns; /* stop it when this long has passed since it was accepted; 0 = never */
  uint64_t reserved;    /* 0 */
};

/*
 * The answer.  bytes and status are both told: a write that meets a full disk half way has the
 * half and -ENOSPC.  status is
 *   0           all of it was done; a read that met the end of the file has fewer bytes than asked
 *   -ECANCELED  stopped by rf_cancel() or because the op it was linked to failed
 *   -ETIMEDOUT  stopped by its deadline
 *   -EINVAL     no such op or flag, lengths beyond what a file can have, or the kernel's own
 *               EINVAL (misaligned direct I/O)
 *   -EFBIG      past the largest file or RLIMIT_FSIZE; SIGXFSZ is not raised
 *   -EIO        also: a write that the kernel keeps answering with 0 bytes
 *   -EOWNERDEAD the backend that had the op died (rf_counters.deaths) and took the answer with it:
 *               whether the op was done, in part or not at all, is not known, and it was not tried
 *               again.  Only ops that change the file, or reads of files that cannot seek: others
 *               are simply done again, elsewhere.  The kernel is done with the buffer; where
 *               even that cannot be known (a forked child still holds the ring, or registering
 *               files with it was refused), it has had ten seconds.
 *   other -errno as of the system call that does the same (pread, pwrite, fsync, fallocate).
 * EINTR and EBUSY never appear, and EAGAIN only with NOWAIT, unless the kernel goes on answering
 * them for longer than all retries take (about a tenth of a second).  A pipe, socket or terminal
 * with O_NONBLOCK is waited for like one without.
 */
struct rf_completion {
  uint64_t user_data; /* of the op */
  int64_t bytes;      /* moved; 0 for ops that move none */
  int32_t status;     /* 0 or -errno */
  uint16_t kind;      /* enum rf_op_kind */
  uint16_t backend;   /* enum rf_backend_id: which one gave the last answer */
};

/* An op of which the other fields are 0: what the functions below begin with. */
static inline struct rf_op rf_op_make(enum rf_op_kind kind, struct rf_file *file,
                                      uint64_t user_data) {
  struct rf_op op;
  memset(&op, 0, sizeof(op));
  op.kind = (uint8_t)kind;
  op.file = file;
  op.user_data = user_data;
  return op;
}

/* Reads len bytes at offset into buf.  Any len; 0 completes with 0 bytes. */
static inline struct rf_op rf_op_read(struct rf_file *file, void *buf, uint64_t len,
                                      uint64_t offset, uint64_t user_data) {
  struct rf_op op = rf_op_make(RF_OP_READ, file, user_data);
  op.buf = buf;
  op.len = len;
  op.offset = offset;
  return op;
}

/* Writes len bytes of buf at offset. */
static inline struct rf_op rf_op_write(struct rf_file *file, const void *buf, uint64_t len,
                                       uint64_t offset, uint64_t user_data) {
  struct rf_op op = rf_op_read(file, (void *)(uintptr_t)buf, len, offset, user_data);
  op.kind = RF_OP_WRITE;
  return op;
}

/* Reads into count buffers, in order.  The array of iovecs stays in use until completion. */
static inline struct rf_op rf_op_readv(struct rf_file *file, const struct iovec *iov,
                                       uint64_t count, uint64_t offset, uint64_t user_data) {
  struct rf_op op = rf_op_make(RF_OP_READV, file, user_data);
  op.iov = iov;
  op.len = count;
  op.offset = offset;
  return op;
}

/* Writes from count buffers, in order. */
static inline struct rf_op rf_op_writev(struct rf_file *file, const struct iovec *iov,
                                        uint64_t count, uint64_t offset, uint64_t user_data) {
  struct rf_op op = rf_op_readv(file, iov, count, offset, user_data);
  op.kind = RF_OP_WRITEV;
  return op;
}

/* Makes durable what was completed before it is started: ops still in flight are not waited for
 * (link it to the last one, or reap them first). */
static inline struct rf_op rf_op_fsync(struct rf_file *file, uint64_t user_data) {
  return rf_op_make(RF_OP_FSYNC, file, user_data);
}

/* The same without metadata that is not needed to read the data back. */
static inline struct rf_op rf_op_fdatasync(struct rf_file *file, uint64_t user_data) {
  return rf_op_make(RF_OP_FDATASYNC, file, user_data);
}

/* fallocate(2): mode 0 allocates the range and extends the file; FALLOC_FL_... as there. */
static inline struct rf_op rf_op_fallocate(struct rf_file *file, int mode, uint64_t offset,
                                           uint64_t len, uint64_t user_data) {
  struct rf_op op = rf_op_make(RF_OP_FALLOCATE, file, user_data);
  op.mode = mode;
  op.offset = offset;
  op.len = len;
  return op;
}

/* The range need not be kept.  A regular file gets a hole: its size stays, the range reads as
 * zeros.  A block device is told to discard it: what it reads as afterwards is up to the device. */
static inline struct rf_op rf_op_discard(struct rf_file *file, uint64_t offset, uint64_t len,
                                         uint64_t user_data) {
  struct rf_op op = rf_op_fallocate(file, 0, offset, len, user_data);
  op.kind = RF_OP_DISCARD;
  return op;
}

/* Does nothing, on its way through the backend. */
static inline struct rf_op rf_op_nop(uint64_t user_data) {
  return rf_op_make(RF_OP_NOP, NULL, user_data);
}

#ifdef __cplusplus
}
#endif
#endif
