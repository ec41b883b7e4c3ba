// SPDX-License-Identifier: Apache-2.0
/*
 * <ringfall/verdict.h>: what this host, this directory and this file can do, and why not.
 *
 * The probe never reasons from a version number: it opens each backend with the flags and the
 * depth that a queue will use, passes a real write and a real read through it, and writes down
 * where that ended.  All functions here are thread-safe, keep no state between calls, print
 * nothing and leave nothing behind.
 */
#ifndef RINGFALL_VERDICT_H
#define RINGFALL_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The backends, in the order in which `auto` tries them. */
enum rf_backend_id {
  RF_BACKEND_IO_URING = 0,
  RF_BACKEND_LIBAIO = 1,
  RF_BACKEND_THREADS = 2, /* needs nothing but libc; works everywhere */
  RF_BACKENDS = 3,
};

/* "io_uring", "libaio", "threads"; "unknown" for anything else.  Static string. */
const char *rf_backend_name(enum rf_backend_id id);

/* Finds a backend by the name above.  0, or -EINVAL if there is no such name (*id untouched). */
int rf_backend_by_name(const char *name, enum rf_backend_id *id);

/* How far a backend came before something was refused. */
enum rf_stage {
  RF_STAGE_NONE = 0, /* nothing was refused */
  RF_STAGE_BUILD,    /* left out when the library was built */
  RF_STAGE_SETUP,    /* io_uring_setup, io_setup */
  RF_STAGE_REGISTER, /* io_uring_register */
  RF_STAGE_SUBMIT,   /* io_uring_enter, io_submit */
  RF_STAGE_WAIT,     /* io_uring_enter, io_pgetevents, io_getevents */
  RF_STAGE_IO,       /* a real read or write failed, or gave back wrong bytes */
};
const char *rf_stage_name(enum rf_stage stage); /* "setup", ...; "none".  Static string. */

/* What stood in the way, as far as it can be known from the outside. */
enum rf_cause {
  RF_CAUSE_NONE = 0,
  RF_CAUSE_NOT_BUILT,  /* the backend was not compiled in */
  RF_CAUSE_SECCOMP,    /* a seccomp filter answers for the kernel */
  RF_CAUSE_SYSCTL,     /* kernel.io_uring_disabled */
  RF_CAUSE_NO_SYSCALL, /* this kernel does not have the call */
  RF_CAUSE_MEMLOCK,    /* RLIMIT_MEMLOCK */
  RF_CAUSE_AIO_MAX_NR, /* fs.aio-max-nr */
  RF_CAUSE_NOFILE,     /* RLIMIT_NOFILE */
  RF_CAUSE_NOMEM,      /* the kernel is short of memory, and no limit explains it */
  RF_CAUSE_PERMISSION, /* refused, with neither seccomp nor a sysctl to be seen (an LSM?) */
  RF_CAUSE_FLAG,       /* this kernel does not know a flag; a lesser set is in use */
  RF_CAUSE_STORAGE,    /* the directory refused the probe's own reads or writes */
  RF_CAUSE_OTHER,
};
const char *rf_cause_name(enum rf_cause cause); /* "seccomp", "memlock", ...  Static string. */

/*
 * The verdict on one backend.  `usable` decides; the other fields tell of the most telling thing
 * that was refused, also when the backend is usable with less (no registration, a smaller
 * context).  error == 0 means that nothing was refused.
 */
struct rf_verdict {
  enum rf_backend_id backend; /* which one this is about */
  bool tried;                 /* false only after rf_probe_options.first_only or skip */
  bool usable;                /* a real write and a real read went through it */
  enum rf_stage stage;        /* where it was refused */
  const char *syscall;        /* static string, "" when error == 0 */
  int error;                  /* errno, positive; 0 = nothing refused */
  enum rf_cause cause;        /* why, as far as it can be known */
  unsigned depth_asked;       /* requests in flight that were asked for */
  unsigned depth;             /* and granted; smaller than asked when a limit made it shrink */
  char features[160];         /* what is in use: ring flags, the call that reaps, workers */
  char why[320];              /* one sentence for people; "" when nothing was refused */
  char remedy[320];           /* a command, or a line of configuration; "" when there is none */
};

/* The limits that decide, as read when the probe ran.  -1: the kernel does not say. */
struct rf_limits {
  char kernel[96];           /* uname release */
  int64_t memlock;           /* RLIMIT_MEMLOCK, bytes; INT64_MAX = unlimited */
  int64_t nofile;            /* RLIMIT_NOFILE, descriptors */
  int64_t fsize;             /* RLIMIT_FSIZE, bytes; INT64_MAX = unlimited */
  int64_t aio_nr;            /* fs.aio-nr: requests granted to contexts on this host */
  int64_t aio_max_nr;        /* fs.aio-max-nr: their limit */
  int64_t io_uring_disabled; /* kernel.io_uring_disabled: 0, 1 (group only), 2 (nobody) */
  int64_t seccomp;           /* 0 none, 1 strict, 2 filter: /proc/self/status */
};

/* Where the figures of alignment come from. */
enum rf_alignment_source {
  RF_ALIGNMENT_NONE = 0, /* not a file that has any */
  RF_ALIGNMENT_STATX,    /* statx(STATX_DIOALIGN), Linux 6.1 and newer */
  RF_ALIGNMENT_DEVICE,   /* the block device's logical sector, BLKSSZGET */
  RF_ALIGNMENT_ASSUMED,  /* st_blksize: safe, perhaps larger than needed */
};
const char *rf_alignment_source_name(enum rf_alignment_source source); /* "statx", ... */

/* What was learned of one open file.  All sizes in bytes. */
struct rf_file_info {
  char file_system[32];  /* "ext4", "tmpfs", ...; "0x<magic>" where the name is not known */
  uint64_t magic;        /* statfs f_type */
  uint64_t size;         /* when it was looked at; for a block device its capacity */
  bool regular;          /* a regular file */
  bool block_device;     /* a block device */
  bool stream;           /* cannot seek (pipe, socket, terminal, eventfd): offsets are ignored */
  bool direct;           /* this descriptor has O_DIRECT now */
  bool direct_possible;  /* the file system accepts O_DIRECT on this file */
  uint32_t memory_align; /* direct I/O: buffer addresses are multiples of this */
  uint32_t offset_align; /* direct I/O: offsets and lengths are multiples of this */
  uint32_t block_size;   /* st_blksize: the preferred unit of buffered I/O */
  bool nowait_read;      /* preadv2(RWF_NOWAIT) is supported */
  bool nowait_write;     /* pwritev2(RWF_NOWAIT) is supported */
  /* nowait_write was found out.  False: that could not be done without a risk to the file (buffered
   * writes to xfs, btrfs and others, or not open for writing), and nowait_write is a cautious no.
   * rf_probe_directory() always finds out, for the file that it makes. */
  bool nowait_write_tried;
  enum rf_alignment_source alignment_source; /* of the figures for direct I/O */
};

/* What was learned of a directory, by making a file in it that has no name, or loses it at once. */
struct rf_directory {
  bool usable;              /* a file was made, written, read back, compared */
  const char *syscall;      /* what refused; "" when usable */
  int error;                /* errno, positive; 0 when usable */
  char why[192];            /* one sentence; "" when usable */
  int direct_error;         /* 0: O_DIRECT writes and reads were done; else the errno, positive */
  uint64_t free_bytes;      /* for an ordinary user */
  struct rf_file_info file; /* as of a file made there */
};

/* The whole host: one verdict a backend, in the order of preference. */
struct rf_host {
  enum rf_backend_id selected;             /* what `auto` takes: the first that is usable */
  struct rf_verdict verdicts[RF_BACKENDS]; /* by enum rf_backend_id */
  struct rf_limits limits;                 /* as they were before the backends were tried */
};

/* What the probe is asked for; all 0 is fine. */
struct rf_probe_options {
  unsigned depth;        /* requests in flight to ask each backend for; 0 means 128 */
  const char *directory; /* where the real reads and writes go; NULL: a file in memory */
  /* Stop at the first backend that is usable: the verdicts after it say `tried` = false.  Closing a
   * libaio context alone takes the kernel 10 to 50 ms, everything else together 1 to 3. */
  bool first_only;
  uint32_t skip; /* bit mask of enum rf_backend_id: do not try these */
  /*
   * Try each backend in a forked child: a seccomp filter may kill the caller of a system call (its
   * action KILL) rather than refuse it.  The verdict is then `seccomp`, with EPERM standing for the
   * death.  Costs a fork per backend; the program may see SIGCHLD.
   */
  bool in_child;
};

/*
 * Probes every backend.  options may be NULL.  Takes a few milliseconds, and with libaio 10 to 50
 * (see first_only).  0, or -errno when not even the probing could be done (-EINVAL: host is NULL,
 * or depth is above 65,536; -EMFILE: no descriptor is left for a file to try things on); an
 * unusable directory, or a full one, is not that: the verdicts then rest on a file in memory, and
 * rf_probe_directory() says what is wrong with the directory.
 *
 * While it runs, each backend takes what a queue of that depth takes (locked memory, fs.aio-nr).
 * Should the kernel take a request and not answer it within two seconds, nor let it be cancelled,
 * then the memory that it may still write to, and the trial's descriptors, are given up for good.
 */
int rf_probe_host(const struct rf_probe_options *options, struct rf_host *host);

/* Probes a directory.  0 with the answer in *directory, also when that answer is "not usable". */
int rf_probe_directory(const char *path, struct rf_directory *directory);

/*
 * Looks at an open file without reading, writing or moving its offset.  0 or -errno (-EBADF: not an
 * open file, or open with O_PATH).  Where statx does not say whether O_DIRECT is possible, and no
 * lock is held on the file by anyone, the file is opened a second time for a moment, which watchers
 * (inotify, fanotify) will see.  atime may change as by a read.
 */
int rf_probe_file(int fd, struct rf_file_info *info);

/* Reads the limits.  Never fails: what cannot be read is -1. */
void rf_probe_limits(struct rf_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
