// SPDX-License-Identifier: Apache-2.0
/*
 * The contract that each backend fills in: one table of functions, always complete.
 *
 * A backend moves requests to the kernel and answers back, nothing else.  It knows nothing of
 * names of files, of retries, of short transfers, of routing or of other backends: the core
 * (engine/) does all of that once, for all of them.  A backend that was left out at build time is
 * a stub with the same table, whose open() says why.
 *
 * Threads: one backend object serves one queue and is called by one thread at a time.  A backend
 * may have threads of its own; they never call out.
 *
 * Errors are -errno, never errno.
 */
#ifndef RINGFALL_BACKENDS_BACKEND_H
#define RINGFALL_BACKENDS_BACKEND_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

enum rf_request_kind {
  RF_REQUEST_NOP,
  RF_REQUEST_READ,
  RF_REQUEST_WRITE,
  RF_REQUEST_READV,
  RF_REQUEST_WRITEV,
  RF_REQUEST_FSYNC,
  RF_REQUEST_FDATASYNC,
  RF_REQUEST_FALLOCATE,
  RF_REQUEST_BLOCK_DISCARD, /* BLKDISCARD on a block device */
  RF_REQUEST_KINDS,
};

enum rf_request_flags {
  RF_REQUEST_DSYNC = 1u << 0,  /* RWF_DSYNC */
  RF_REQUEST_NOWAIT = 1u << 1, /* RWF_NOWAIT */
  RF_REQUEST_HIPRI = 1u << 2,  /* RWF_HIPRI */
  RF_REQUEST_STREAM = 1u << 3, /* the file cannot seek: the offset is not used */
  RF_REQUEST_IOPRIO = 1u << 4, /* ioprio is set */
  /* What follows helps a backend that knows it; the others act as if it were not set. */
  RF_REQUEST_FIXED_FILE = 1u << 5,   /* fd is registered, in place file_slot */
  RF_REQUEST_FIXED_MEMORY = 1u << 6, /* READ, WRITE: the buffer is, in place memory_slot */
  RF_REQUEST_HERE = 1u << 7,         /* threads: make the call in submit(), on this thread */
};
#define RF_REQUEST_HINTS                                                                           \
  ((unsigned)RF_REQUEST_FIXED_FILE | RF_REQUEST_FIXED_MEMORY | RF_REQUEST_HERE)

/*
 * One call to the kernel.  Owned by the core and living in its op slots: the address stays valid
 * and the fields unchanged from submit() until reap() has handed the request back.
 */
struct rf_request {
  uint8_t kind;    /* enum rf_request_kind */
  uint8_t flags;   /* enum rf_request_flags */
  uint16_t ioprio; /* as in ioprio_set(2) */
  int32_t fd;
  union {
    void *buf;               /* READ, WRITE */
    const struct iovec *iov; /* READV, WRITEV: at most UIO_MAXIOV of them */
  };
  uint64_t len;    /* bytes (at most 1 GiB for READ, WRITE); READV, WRITEV: how many iovecs */
  uint64_t offset; /* bytes */
  union {
    int32_t mode; /* FALLOCATE: as in fallocate(2) */
    struct {      /* the others: see RF_REQUEST_FIXED_* */
      uint16_t file_slot;
      uint16_t memory_slot;
    };
  };
  uint32_t state; /* the backend's own while it holds the request */
  union {
    struct {
      struct rf_request *next;
      int64_t res;
    } listed;
    unsigned char bytes[64];         /* a struct iocb */
  } own __attribute__((aligned(8))); /* the backend's own while it holds the request */
};

/* One answer: res is bytes moved or 0, or -errno, just as the kernel gave it. */
struct rf_result {
  struct rf_request *request;
  int64_t res;
};

/* Requests that submit() is given at once, at most. */
#define RF_BATCH_MAX 64u

struct rf_backend_config {
  unsigned depth;   /* requests in flight that are wanted; the backend may grant fewer */
  unsigned workers; /* threads: how many workers at most */
  bool registered;  /* have places for files and memory to be registered in, where there are such */
  bool iopoll;      /* io_uring: poll the device for completions */
  bool restricted;  /* io_uring: allow the ring what this backend needs, and nothing else */
  unsigned sqpoll_idle_ms; /* io_uring: let a kernel thread submit, asleep after so long; 0: none */
  void *context; /* for tables that wrap others: rf_substitute.context of engine/substitute.h */
};

/* What open() has to tell, whether it succeeded or not. */
struct rf_backend_report {
  const char *syscall; /* the call that was refused, static string; "" if none was */
  int error;           /* its errno, positive; 0 if none was refused */
  bool absent;         /* not compiled in: reason and remedy are set */
  const char *reason;  /* static string */
  const char *remedy;  /* static string */
  char features[160];  /* what is in use, for people */
};

/* The public part of a backend object.  Read by the core, written by the backend's open() only,
 * but for the two counters at its end. */
struct rf_backend {
  const struct rf_backend_ops *ops;
  uint32_t kinds;        /* bit k: runs requests of kind k */
  uint32_t flags;        /* the request flags it can honour; others must not be handed to it */
  unsigned capacity;     /* requests in flight at most, 1 or more; the core never goes above it */
  unsigned file_slots;   /* files that can be registered at a time; 0: none */
  unsigned memory_slots; /* pieces of memory, likewise */
  bool one_call;         /* it takes and waits by the same call: what cannot wait cannot take */
  uint64_t syscalls;     /* system calls made on the submitting thread */
  uint64_t submit_ns;    /* time spent handing over, in calls that did nothing else */
};

/* The first refusal tells the most: later ones are not noted.  But an older kernel begins with
 * EINVAL for a flag that it does not know, which says nothing of what then stood in the way. */
static inline void rf_report_refusal(struct rf_backend_report *report, const char *syscall,
                                     int error) {
  bool flag_only = report->error == EINVAL && error != EINVAL;
  if (report->error != 0 && !flag_only) return;
  report->syscall = syscall;
  report->error = error;
}

/* The flags of a request as preadv2(2) and its like take them. */
static inline int rf_request_rwf(const struct rf_request *request) {
  int flags = 0;
  if (!(request->flags & (RF_REQUEST_DSYNC | RF_REQUEST_NOWAIT | RF_REQUEST_HIPRI))) return 0;
  if (request->flags & RF_REQUEST_DSYNC) flags |= RWF_DSYNC;
  if (request->flags & RF_REQUEST_NOWAIT) flags |= RWF_NOWAIT;
  if (request->flags & RF_REQUEST_HIPRI) flags |= RWF_HIPRI;
  return flags;
}

static inline uint64_t rf_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct rf_backend_ops {
  const char *name;        /* "io_uring", "libaio", "threads" */
  const char *submit_call; /* the system call behind submit(), for verdicts */

  /*
   * Makes a backend object.  Everything it will ever allocate, it allocates here.  Tries lesser
   * flags and smaller contexts before it gives up, and reports the first thing refused even when it
   * succeeds with less.  0 with *out set, or -errno with *out untouched and report->error set
   * (but for -ENOMEM when there is no memory for the object itself).
   */
  int (*open)(const struct rf_backend_config *config, struct rf_backend **out,
              struct rf_backend_report *report);

  /* Ends it.  Precondition: no request is in flight. */
  void (*close)(struct rf_backend *backend);

  /* Frees what a forked child has inherited, and touches nothing that is shared with the parent. */
  void (*abandon)(struct rf_backend *backend);

  /*
   * Takes requests in order, as many as it can, and, if it took them all, waits until at least
   * `wait` answers are there to be reaped, for timeout_ns at most (-1: no limit, 0: not at all);
   * in one system call where that is possible.  n may be 0 (only wait); wait may be 0.
   * Preconditions: n <= RF_BATCH_MAX; in flight + n <= capacity; wait <= in flight + n.
   * Returns how many it took (a prefix): the others stay the caller's, as if never shown.  A
   * request that the kernel refused on its own account counts as taken and answers through reap().
   * -errno: none was taken.  -EAGAIN, -EBUSY, -EINTR and -ENOMEM mean 'not now'; any other error
   * means that this backend takes no requests any more (n > 0) or cannot wait any more (n == 0).
   * Those it has taken earlier are still answered.  A time-out and EINTR while waiting are no
   * errors.
   */
  int (*submit)(struct rf_backend *backend, struct rf_request *const *requests, unsigned n,
                unsigned wait, int64_t timeout_ns);

  /*
   * For a backend that takes no requests any more and cannot wait either: gives it up, so that the
   * kernel finishes what it has by itself, and waits for that, timeout_ns at most.  To be called
   * again while it answers -EINPROGRESS; from the first call on nothing else may be but reap(),
   * close() and abandon().
   * 0: the kernel is done with all requests and their memory, and reap() hands over all answers
   * that could be had; the others are lost.  -EINPROGRESS: not yet.  Another error: when the kernel
   * is done cannot be known here.
   */
  int (*salvage)(struct rf_backend *backend, int64_t timeout_ns);

  /* Hands over answers that are there, without blocking: how many, at most max.  0 means that there
   * are none.  Fewer than max may leave some that the kernel holds back until it is entered again,
   * by the next call here or by submit(); but once pollable() was called, only such as it is
   * readable for. */
  unsigned (*reap)(struct rf_backend *backend, struct rf_result *results, unsigned max);

  /*
   * Tries to stop a request in flight.  0: it was stopped, and answers -ECANCELED (by reap()).
   * -EALREADY, -ENOENT or another error: it could not be stopped; its answer comes by itself.
   */
  int (*cancel)(struct rf_backend *backend, struct rf_request *request);

  /*
   * A descriptor that becomes readable when an answer arrives, and stays so until reap() has been
   * called until it returned fewer than it was asked for.  Made at the first call, which is to come
   * while nothing is in flight; belongs to the backend.  -errno on failure.
   */
  int (*pollable)(struct rf_backend *backend);

  /*
   * Makes the waits of submit() end also when fd becomes readable.  Lasts until that happened once;
   * watching the same fd again before that does nothing.  -errno: cannot be done.
   */
  int (*watch)(struct rf_backend *backend, int fd);

  /*
   * Puts a descriptor in place `slot` (below file_slots), in exchange for what was there; -1 leaves
   * it empty.  A registered file stays open in the kernel until then.  Precondition: no request
   * that names the place is in flight.  -errno: the place is now empty.
   */
  int (*register_file)(struct rf_backend *backend, unsigned slot, int fd);

  /* The same for memory (below memory_slots): size 0 leaves the place empty.  The pages stay where
   * they are, and allocated, for as long. */
  int (*register_memory)(struct rf_backend *backend, unsigned slot, void *base, size_t size);
};

/* For backends without such places. */
static inline int rf_register_no_file(struct rf_backend *backend, unsigned slot, int fd) {
  (void)backend, (void)slot, (void)fd;
  return -EOPNOTSUPP;
}
static inline int rf_register_no_memory(struct rf_backend *backend, unsigned slot, void *base,
                                        size_t size) {
  (void)backend, (void)slot, (void)base, (void)size;
  return -EOPNOTSUPP;
}

/* All backends, in the order of preference: io_uring, libaio, threads. */
#define RF_BACKEND_TABLES 3
extern const struct rf_backend_ops *const rf_backend_tables[RF_BACKEND_TABLES];

extern const struct rf_backend_ops rf_uring_backend;
extern const struct rf_backend_ops rf_libaio_backend;
extern const struct rf_backend_ops rf_threads_backend;

#ifdef __cplusplus
}
#endif
#endif
