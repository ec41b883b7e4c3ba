// SPDX-License-Identifier: Apache-2.0
/*
 * The io_uring backend.
 *
 * Ring flags are a ladder: the best set is tried first and the kernel's EINVAL leads one rung down,
 * so that no version number is ever trusted.  A ring is opened disabled, and enabled by the first
 * call on the owner's thread, which thereby becomes the one issuer that DEFER_TASKRUN wants.  Where
 * io_uring_register is refused a ring cannot be enabled; such a host gets a rung without.
 *
 * The submission ring is empty between calls: what the kernel did not consume is taken back and
 * stays the core's.  The completion ring is as large as the capacity, so it cannot overflow but for
 * the watch, which the kernel then keeps for us (IORING_FEAT_NODROP).
 *
 * user_data is the request's address; addresses are multiples of 8, which leaves odd numbers for
 * what is not a request: the watch and cancellations.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backends/backend.h"
#include "backends/mapping.h"
#include "backends/thread.h"
#include "backends/uring/remains.h"
#include "backends/uring/setup.h"
#include "backends/uring/uapi.h"

/* Places for registered files and memory.  The kernel takes memory in pieces of 1 GiB at most. */
#define FILE_SLOTS   256u
#define MEMORY_SLOTS 32u
#define MEMORY_MOST  ((size_t)1 << 30)

/* For so long completions are waited for that come without the ring being entered. */
#define GRACE_NS UINT64_C(1000000000)

#define DATA_WATCH  1u
#define DATA_CANCEL 3u /* + 4 * a serial number */

struct uring_backend {
  struct rf_backend base;
  struct io_uring ring;
  bool disabled;        /* not enabled yet: no request was ever submitted */
  bool started;         /* the owner's thread has made its first call */
  bool sqpoll;          /* a kernel thread takes from the submission ring, at any time */
  bool iopoll;          /* completions come only to those who ask */
  bool registered;      /* files, memory and the ring's descriptor are to be */
  bool ring_registered; /* enter_fd and int_flags are what the ring had before */
  uintptr_t issuer;     /* rf_thread_self() of the owner; set where ring_registered may be */
  int enter_fd;
  uint8_t int_flags;
  bool watching;
  unsigned cancels;        /* serial number of the last one */
  int eventfd;             /* -1 until pollable(): signalled by the ring */
  uint64_t grace_until_ns; /* 0 until the first salvage() */
  struct rf_remains remains;
};

struct rung {
  unsigned flags;
  const char *name;
};

static const struct rung ladder[] = {
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
         IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED,
     "SINGLE_ISSUER, DEFER_TASKRUN, SUBMIT_ALL"},
    {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
     "COOP_TASKRUN, SUBMIT_ALL"},
    {IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL"},
    {0, "no flags"},
};
#define RUNGS (sizeof(ladder) / sizeof(ladder[0]))

/* With a kernel thread that submits, task work is that thread's. */
static const struct rung polled_ladder[] = {
    {IORING_SETUP_SQPOLL | IORING_SETUP_SUBMIT_ALL, "SQPOLL, SUBMIT_ALL"},
    {IORING_SETUP_SQPOLL, "SQPOLL"},
};
#define POLLED_RUNGS (sizeof(polled_ladder) / sizeof(polled_ladder[0]))

static struct uring_backend *uring_of(struct rf_backend *backend) {
  return (struct uring_backend *)backend;
}

/* ---- opening -------------------------------------------------------------------------------- */

static unsigned power_of_two(unsigned least) {
  unsigned power = 1;
  while (power < least) power *= 2;
  return power;
}

/* A submission ring for one batch is enough where the kernel takes all of it at once. */
static unsigned submission_entries(unsigned flags, unsigned depth) {
  unsigned most = flags & IORING_SETUP_SQPOLL ? 4096 : RF_BATCH_MAX;
  return depth < most ? power_of_two(depth) : most;
}

/* ENOMEM is RLIMIT_MEMLOCK on kernels that count rings against it, and memory elsewhere: both may
 * have room for a smaller ring. */
static int setup_ring(struct uring_backend *self, unsigned flags,
                      const struct rf_backend_config *config, struct rf_backend_report *report) {
  for (unsigned depth = config->depth;; depth /= 2) {
    struct io_uring_params params = {0};
    unsigned entries = submission_entries(flags, depth);
    params.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    params.cq_entries = power_of_two(depth < entries ? entries : depth);
    params.sq_thread_idle = config->sqpoll_idle_ms;
    self->base.syscalls++;
    int status = rf_uring_setup(entries, &self->ring, &params);
    if (status == 0) {
      rf_mapping_made();
      self->base.capacity = depth < params.cq_entries ? depth : params.cq_entries;
      self->disabled = flags & IORING_SETUP_R_DISABLED;
      self->sqpoll = flags & IORING_SETUP_SQPOLL;
      self->iopoll = flags & IORING_SETUP_IOPOLL;
      return 0;
    }
    rf_report_refusal(report, "io_uring_setup", -status);
    if (status != -ENOMEM || depth == 1) return status;
  }
}

static const struct {
  enum rf_request_kind kind;
  int opcode;
} opcodes[] = {
    {RF_REQUEST_NOP, IORING_OP_NOP},         {RF_REQUEST_READ, IORING_OP_READ},
    {RF_REQUEST_WRITE, IORING_OP_WRITE},     {RF_REQUEST_READV, IORING_OP_READV},
    {RF_REQUEST_WRITEV, IORING_OP_WRITEV},   {RF_REQUEST_FSYNC, IORING_OP_FSYNC},
    {RF_REQUEST_FDATASYNC, IORING_OP_FSYNC}, {RF_REQUEST_FALLOCATE, IORING_OP_FALLOCATE},
};

/* Which ops this kernel has.  With probe == NULL nobody can say, and all are tried: the core runs
 * elsewhere what the kernel then refuses. */
static uint32_t offered_kinds(const struct io_uring_probe *probe) {
  uint32_t kinds = 0;
  for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++)
    if (probe == NULL || io_uring_opcode_supported(probe, opcodes[i].opcode))
      kinds |= 1u << opcodes[i].kind;
  return kinds;
}

/* Asks for the list of ops, which also shows whether io_uring_register may be called at all. */
static int query_kinds(struct uring_backend *self) {
  enum { OPS = 256 };
  struct io_uring_probe *probe = calloc(1, sizeof(*probe) + OPS * sizeof(struct io_uring_probe_op));
  if (probe == NULL) return -ENOMEM;
  self->base.syscalls++;
  int status = io_uring_register_probe(&self->ring, probe, OPS);
  self->base.kinds = offered_kinds(status == 0 ? probe : NULL);
  free(probe);
  return status;
}

/* Refused registration costs speed, and what remains.h wants it for.  One place more than is told:
 * for that. */
static void make_places(struct uring_backend *self, bool registered) {
  unsigned files = registered ? FILE_SLOTS : 0;
  self->base.syscalls += 2;
  if (io_uring_register_files_sparse(&self->ring, files + 1) == 0) {
    self->base.file_slots = files;
    rf_remains_watch(&self->remains, &self->ring, files);
  }
  if (!registered) return;
  if (io_uring_register_buffers_sparse(&self->ring, MEMORY_SLOTS) == 0)
    self->base.memory_slots = MEMORY_SLOTS;
}

/* The calls of io_uring_register that follow the opening, the oldest first. */
static const uint8_t calls[] = {
    IORING_REGISTER_ENABLE_RINGS, IORING_REGISTER_EVENTFD,
    IORING_REGISTER_FILES_UPDATE, IORING_REGISTER_BUFFERS_UPDATE, /* 5.13 */
    IORING_REGISTER_RING_FDS,                                     /* 5.18, and the next */
    IORING_UNREGISTER_RING_FDS,
};
enum { CALLS = sizeof(calls) };

/* What the code below uses, and nothing else: IORING_REGISTER_RESTRICTIONS, Linux 5.10.  The kernel
 * takes no name of a call that it does not have: the first `count` of them are named. */
static int restrict_to(struct uring_backend *self, size_t count) {
  static const uint8_t ops[] = {
      IORING_OP_NOP,       IORING_OP_READ,       IORING_OP_WRITE,        IORING_OP_READV,
      IORING_OP_WRITEV,    IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED,  IORING_OP_FSYNC,
      IORING_OP_FALLOCATE, IORING_OP_POLL_ADD,   IORING_OP_ASYNC_CANCEL,
  };
  struct io_uring_restriction list[sizeof(ops) + CALLS + 1];
  unsigned n = 0;
  memset(list, 0, sizeof(list));
  for (size_t i = 0; i < sizeof(ops); i++, n++) {
    list[n].opcode = IORING_RESTRICTION_SQE_OP;
    list[n].sqe_op = ops[i];
  }
  for (size_t i = 0; i < count; i++, n++) {
    list[n].opcode = IORING_RESTRICTION_REGISTER_OP;
    list[n].register_op = calls[i];
  }
  list[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
  list[n++].sqe_flags = IOSQE_FIXED_FILE;
  self->base.syscalls++;
  return io_uring_register_restrictions(&self->ring, list, n);
}

/* A refused list leaves no restriction behind, and the next may be shorter. */
static int restrict_ring(struct uring_backend *self) {
  static const size_t counts[] = {CALLS, CALLS - 2, CALLS - 3};
  int status = -EINVAL;
  for (size_t i = 0; status == -EINVAL && i < sizeof(counts) / sizeof(counts[0]); i++)
    status = restrict_to(self, counts[i]);
  return status;
}

static int set_up_registers(struct uring_backend *self, const struct rf_backend_config *config,
                            struct rf_backend_report *report) {
  int status = query_kinds(self);
  if (status != 0) {
    rf_report_refusal(report, "io_uring_register", -status);
    bool usable = !self->disabled && status != -ENOMEM;
    return usable ? 0 : status;
  }
  self->registered = config->registered;
  make_places(self, config->registered);
  if (config->restricted) status = restrict_ring(self);
  if (status != 0) rf_report_refusal(report, "io_uring_register", -status);
  return status;
}

/* A rung either works, or leaves no ring behind. */
static int try_rung(struct uring_backend *self, unsigned flags,
                    const struct rf_backend_config *config, struct rf_backend_report *report) {
  if (config->iopoll) flags |= IORING_SETUP_IOPOLL;
  if (config->restricted) flags |= IORING_SETUP_R_DISABLED; /* the only time to do that */
  int status = setup_ring(self, flags, config, report);
  if (status != 0) return status;
  status = set_up_registers(self, config, report);
  if (status == 0) return 0;
  self->base.file_slots = self->base.memory_slots = 0;
  rf_mapping_goes();
  io_uring_queue_exit(&self->ring);
  rf_remains_free(&self->remains);
  rf_remains_init(&self->remains);
  return status;
}

/* EINVAL from setup is a flag that the kernel does not know.  Whatever io_uring_register answers,
 * the rungs below the first can do without it. */
static bool next_rung_may_work(int status, const struct rf_backend_report *report) {
  return status == -EINVAL || strcmp(report->syscall, "io_uring_register") == 0;
}

static int climb_down(struct uring_backend *self, const struct rung *rungs, size_t count,
                      const struct rf_backend_config *config, struct rf_backend_report *report) {
  int status = -EINVAL;
  for (size_t i = 0; i < count; i++) {
    status = try_rung(self, rungs[i].flags, config, report);
    if (status == 0) {
      snprintf(report->features, sizeof(report->features), "%s%s%s%s; ring of %u%s", rungs[i].name,
               self->ring.flags & IORING_SETUP_NO_SQARRAY ? ", NO_SQARRAY" : "",
               self->iopoll ? ", IOPOLL" : "", config->restricted ? ", restricted" : "",
               self->base.capacity,
               self->base.file_slots > 0 ? "; registers files and memory" : "");
      return 0;
    }
    if (!next_rung_may_work(status, report)) break;
  }
  return status;
}

/* What was wished for beyond an ordinary ring is left out when that alone is what is refused; but
 * a ring that was to be restricted never comes without its restrictions. */
static int find_ring(struct uring_backend *self, const struct rf_backend_config *config,
                     struct rf_backend_report *report) {
  struct rf_backend_config plain = *config;
  int status = -EINVAL;
  if (config->sqpoll_idle_ms > 0)
    status = climb_down(self, polled_ladder, POLLED_RUNGS, config, report);
  if (status != 0) status = climb_down(self, ladder, RUNGS, config, report);
  if (status == 0 || !config->iopoll) return status;
  plain.iopoll = false;
  return find_ring(self, &plain, report);
}

static void free_ring(struct uring_backend *self) {
  rf_mapping_goes();
  if (!self->remains.given_up) io_uring_queue_exit(&self->ring);
  rf_remains_free(&self->remains);
  if (self->eventfd >= 0) close(self->eventfd);
  free(self);
}

/* Where a limit keeps the kernel from starting a worker, it tries again and again before
 * Linux 6.11, and as long as it does the submitting thread does not come out of the kernel,
 * whatever time-out it set: io_workqueue_create() and create_worker_cont() in io-wq.c call each
 * other through the thread's task work.  Only signals that kill end that.  Such a ring must not be
 * used, so it is found out by starting a thread, which the same limits are for.  (The fix has no
 * mark of its own; the feature is of 6.12.) */
static int can_have_workers(const struct uring_backend *self, struct rf_backend_report *report) {
  if (self->ring.features & IORING_FEAT_MIN_TIMEOUT) return 0;
  int status = rf_thread_try();
  if (status != -EAGAIN) return 0; /* or something that is in the way of this thread only */
  report->syscall = "clone";
  report->error = EAGAIN;
  report->features[0] = '\0';
  return status;
}

static int uring_open(const struct rf_backend_config *config, struct rf_backend **out,
                      struct rf_backend_report *report) {
  struct uring_backend *self = calloc(1, sizeof(*self));
  if (self == NULL) return -ENOMEM;
  self->eventfd = -1;
  rf_remains_init(&self->remains);
  int status = find_ring(self, config, report);
  if (status != 0) {
    free(self);
    return status;
  }
  status = can_have_workers(self, report);
  if (status != 0) {
    free_ring(self);
    return status;
  }
  self->base.ops = &rf_uring_backend;
  self->base.one_call = true;
  self->base.flags = RF_REQUEST_DSYNC | RF_REQUEST_NOWAIT | RF_REQUEST_STREAM | RF_REQUEST_IOPRIO |
                     RF_REQUEST_HINTS;
  if (self->iopoll) {
    /* Such rings take reads and writes only; HIPRI is for them, others refuse it. */
    self->base.flags = (self->base.flags & ~(uint32_t)RF_REQUEST_STREAM) | RF_REQUEST_HIPRI;
    self->base.kinds &= 1u << RF_REQUEST_READ | 1u << RF_REQUEST_WRITE | 1u << RF_REQUEST_READV |
                        1u << RF_REQUEST_WRITEV;
  }
  *out = &self->base;
  return 0;
}

/* The ring's descriptor is registered with the thread that owned the ring; elsewhere its place
 * would name another ring, or none. */
static void forget_registration(struct uring_backend *self) {
  if (!self->ring_registered) return;
  self->ring.enter_ring_fd = self->enter_fd;
  self->ring.int_flags = self->int_flags;
}

/* The kernel takes a closed ring apart at its leisure, and so long what was registered would keep
 * file systems mounted and count as locked.  If refused, that is how it is. */
static void let_go(struct uring_backend *self) {
  int no_files[FILE_SLOTS];
  struct iovec no_memory[MEMORY_SLOTS] = {{0}};
  __u64 no_tags[MEMORY_SLOTS] = {0};
  memset(no_files, 0xff, sizeof(no_files)); /* -1 */
  if (self->base.file_slots > 0)
    (void)io_uring_register_files_update(&self->ring, 0, no_files, FILE_SLOTS);
  if (self->base.memory_slots > 0)
    (void)io_uring_register_buffers_update_tag(&self->ring, 0, no_memory, no_tags, MEMORY_SLOTS);
}

static void uring_close(struct rf_backend *backend) {
  struct uring_backend *self = uring_of(backend);
  bool here = !self->started || self->issuer == rf_thread_self();
  if (!here) forget_registration(self);
  if (here && !self->remains.given_up) let_go(self);
  free_ring(self);
}

/* The child's mappings and its descriptor are its own; the ring lives on in the parent. */
static void uring_abandon(struct rf_backend *backend) {
  forget_registration(uring_of(backend));
  free_ring(uring_of(backend));
}

/* ---- submitting ----------------------------------------------------------------------------- */

/* Saves the kernel looking up the descriptor in each call.  If refused, there is none to save. */
static void register_ring(struct uring_backend *self) {
  self->issuer = rf_thread_self();
  self->enter_fd = self->ring.enter_ring_fd;
  self->int_flags = self->ring.int_flags;
  self->base.syscalls++;
  self->ring_registered = io_uring_register_ring_fd(&self->ring) == 1;
}

/* On the owner's thread: this is what makes it the issuer. */
static int start(struct uring_backend *self) {
  if (self->started) return 0;
  if (self->disabled) {
    self->base.syscalls++;
    int status = io_uring_enable_rings(&self->ring);
    if (status != 0) return status;
    self->disabled = false;
  }
  if (self->registered) register_ring(self);
  self->started = true;
  return 0;
}

/* Reads and writes, in a clean entry: as io_uring_prep_rw() and what is added to it, each field
 * written once. */
static void prepare_transfer(struct io_uring_sqe *sqe, const struct rf_request *request) {
  static const uint8_t codes[][2] = {
      [RF_REQUEST_READ] = {IORING_OP_READ, IORING_OP_READ_FIXED},
      [RF_REQUEST_WRITE] = {IORING_OP_WRITE, IORING_OP_WRITE_FIXED},
      [RF_REQUEST_READV] = {IORING_OP_READV, IORING_OP_READV},
      [RF_REQUEST_WRITEV] = {IORING_OP_WRITEV, IORING_OP_WRITEV},
  };
  unsigned flags = request->flags;
  bool fixed_file = flags & RF_REQUEST_FIXED_FILE, fixed_memory = flags & RF_REQUEST_FIXED_MEMORY;
  sqe->opcode = codes[request->kind][fixed_memory];
  sqe->flags = fixed_file ? IOSQE_FIXED_FILE : 0;
  sqe->fd = fixed_file ? request->file_slot : request->fd;
  sqe->off = request->offset;
  sqe->addr = (uint64_t)(uintptr_t)request->buf;
  sqe->len = (unsigned)request->len;
  sqe->buf_index = fixed_memory ? request->memory_slot : 0;
  if (!(flags & ~(unsigned)(RF_REQUEST_FIXED_FILE | RF_REQUEST_FIXED_MEMORY))) return;
  if (flags & RF_REQUEST_IOPRIO) sqe->ioprio = request->ioprio;
  if (flags & RF_REQUEST_STREAM) sqe->off = UINT64_MAX;
  sqe->rw_flags = rf_request_rwf(request);
}

/* liburing's io_uring_prep_ functions clean the entry in some releases (2.3), and in others (2.15)
 * count on io_uring_get_sqe() for that, which is not used here. */
static void prepare(struct io_uring_sqe *sqe, struct rf_request *request) {
  int fd = request->fd;
  memset(sqe, 0, sizeof(*sqe));
  switch (request->kind) {
    case RF_REQUEST_READ:
    case RF_REQUEST_WRITE:
    case RF_REQUEST_READV:
    case RF_REQUEST_WRITEV:
      prepare_transfer(sqe, request);
      break;
    case RF_REQUEST_FSYNC:
      io_uring_prep_fsync(sqe, fd, 0);
      break;
    case RF_REQUEST_FDATASYNC:
      io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
      break;
    case RF_REQUEST_FALLOCATE:
      /* io_uring_prep_fallocate takes off_t in some releases and __u64 in others. */
      io_uring_prep_rw(IORING_OP_FALLOCATE, sqe, fd, NULL, (unsigned)request->mode,
                       request->offset);
      sqe->addr = request->len;
      break;
    default:
      io_uring_prep_nop(sqe);
      break;
  }
  sqe->user_data = (uint64_t)(uintptr_t)request;
}

static unsigned consumed_to(const struct uring_backend *self) {
  return __atomic_load_n(self->ring.sq.khead, __ATOMIC_ACQUIRE);
}

/* Shows the kernel what is in the ring up to `tail`.  Done here, for what liburing does about it
 * when it submits, with the array that this ring may not have, has changed from release to release.
 */
static void publish(struct uring_backend *self, unsigned tail) {
  self->ring.sq.sqe_head = self->ring.sq.sqe_tail = tail;
  __atomic_store_n(self->ring.sq.ktail, tail, __ATOMIC_RELEASE);
}

/* Takes back what the kernel has not consumed.  Without a thread of its own the kernel looks at the
 * submission ring only inside io_uring_enter. */
static void take_back(struct uring_backend *self, unsigned head) {
  publish(self, head);
}

/* A kernel thread, where there is one, will take what is in the ring. */
static bool submitted_since(const struct uring_backend *self, unsigned before) {
  return self->sqpoll || consumed_to(self) != before;
}

static bool no_error(int status) {
  return status >= 0 || status == -ETIME || status == -EINTR || status == -EAGAIN;
}

/* Where the kernel holds completions back until it is entered for them, they come along with the
 * submission, so that the next reap need not enter it once more. */
static int submit(struct uring_backend *self) {
  bool held_back = self->ring.flags & IORING_SETUP_DEFER_TASKRUN;
  return held_back ? io_uring_submit_and_get_events(&self->ring) : io_uring_submit(&self->ring);
}

/* Everything that is in the submission ring, and the wait, in one io_uring_enter. */
static int enter(struct uring_backend *self, unsigned wait, int64_t timeout_ns) {
  struct __kernel_timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
  struct io_uring_cqe *first;
  self->base.syscalls++;
  if (wait == 0 || timeout_ns == 0) {
    uint64_t before = rf_now_ns();
    int status = submit(self);
    self->base.submit_ns += rf_now_ns() - before;
    return status;
  }
  if (timeout_ns < 0) return io_uring_submit_and_wait(&self->ring, wait);
  return io_uring_submit_and_wait_timeout(&self->ring, &first, wait, &timeout, NULL);
}

/* Without EXT_ARG liburing would put a time-out request of its own into the ring. */
static int wait_by_poll(struct uring_backend *self, int64_t timeout_ns) {
  struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
  struct pollfd poll_ring = {self->ring.ring_fd, POLLIN, 0};
  self->base.syscalls++;
  return ppoll(&poll_ring, 1, &timeout, NULL) < 0 ? -errno : 0;
}

/* How many there was room for: all of them, but where a kernel thread is behind.  As
 * io_uring_get_sqe() for each, but looks only once how far the kernel is. */
static unsigned place(struct uring_backend *self, struct rf_request *const *requests, unsigned n) {
  struct io_uring_sq *sq = &self->ring.sq;
  unsigned tail = sq->sqe_tail, room = sq->ring_entries - (tail - consumed_to(self));
  if (n > room) n = room;
  for (unsigned i = 0; i < n; i++) prepare(&sq->sqes[tail++ & sq->ring_mask], requests[i]);
  publish(self, tail);
  return n;
}

static int uring_submit(struct rf_backend *backend, struct rf_request *const *requests, unsigned n,
                        unsigned wait, int64_t timeout_ns) {
  struct uring_backend *self = uring_of(backend);
  int status = start(self);
  if (status != 0) return status;
  bool poll_after = wait > 0 && timeout_ns > 0 && !(self->ring.features & IORING_FEAT_EXT_ARG);
  bool nothing_to_do = n == 0 && (wait == 0 || timeout_ns == 0);
  if (nothing_to_do || (wait > 0 && io_uring_cq_ready(&self->ring) >= wait && n == 0)) return 0;

  unsigned before = consumed_to(self);
  unsigned placed = place(self, requests, n);
  if (placed < n) wait = 0;
  if (n > 0 || !poll_after) status = enter(self, poll_after ? 0 : wait, timeout_ns);
  unsigned after = consumed_to(self);
  bool all = self->sqpoll && (no_error(status) || status == -EBUSY);
  unsigned taken = all ? placed : after - before;
  if (taken < placed) take_back(self, after);
  if (taken == n && poll_after && no_error(status)) status = wait_by_poll(self, timeout_ns);
  if (taken > 0) return (int)taken;
  if (n > 0) return status < 0 ? status : -EAGAIN;
  return no_error(status) || status == -EBUSY ? 0 : status;
}

/* ---- reaping -------------------------------------------------------------------------------- */

static unsigned reap_ring(struct uring_backend *self, struct rf_result *results, unsigned max) {
  const struct io_uring_cq *cq = &self->ring.cq;
  unsigned head = *cq->khead, tail = __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE), n = 0;
  for (; head != tail && n < max; head++) {
    const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
    results[n].request = io_uring_cqe_get_data(cqe);
    results[n].res = cqe->res;
    if (cqe->user_data == DATA_WATCH) self->watching = false;
    n += !(cqe->user_data & 1u); /* or it was no request */
  }
  __atomic_store_n(cq->khead, head, __ATOMIC_RELEASE);
  return n;
}

/* Completions may be held back until the owner enters the kernel (deferred task work), or because
 * the ring was full. */
static bool more_in_kernel(const struct uring_backend *self) {
  if (self->iopoll) return true;
  unsigned flags = __atomic_load_n(self->ring.sq.kflags, __ATOMIC_ACQUIRE);
  return flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* The kernel sets the flag behind the work that it tells of, and who runs that work on another
 * occasion may have taken the flag down before: then it would stay up for good, and each look at
 * the ring enter the kernel in vain.  So it is taken down first: work that it told of is there by
 * now. */
static void fetch(struct uring_backend *self) {
  __atomic_and_fetch(self->ring.sq.kflags, ~IORING_SQ_TASKRUN, __ATOMIC_SEQ_CST);
  self->base.syscalls++;
  (void)io_uring_get_events(&self->ring);
}

static bool is_full(struct uring_backend *self) {
  return io_uring_cq_ready(&self->ring) == *self->ring.cq.kring_entries;
}

/* Fetching signals the eventfd, and work signals it only when there was none before.  So it is
 * emptied until nothing is left to be fetched, or there is no room for it: what comes after that
 * makes it readable again, and is left for the next time. */
static void empty_eventfd(struct uring_backend *self) {
  for (;;) {
    uint64_t count;
    self->base.syscalls++;
    (void)!read(self->eventfd, &count, sizeof(count));
    if (!more_in_kernel(self) || is_full(self)) return;
    fetch(self);
  }
}

static unsigned reap_pollable(struct uring_backend *self, struct rf_result *results, unsigned max) {
  unsigned n = 0;
  do {
    empty_eventfd(self);
    n += reap_ring(self, results + n, max - n);
  } while (n < max && more_in_kernel(self));
  return n;
}

/* A ring that ends gives requests up before they have begun with ECANCELED, or, in some places of
 * some kernels, EFAULT; a bad buffer will be found bad again wherever the request goes then. */
static unsigned reap_remains(struct uring_backend *self, struct rf_result *results, unsigned max) {
  unsigned n = 0;
  while (n < max) {
    const struct io_uring_cqe *cqe = rf_remains_next(&self->remains);
    if (cqe == NULL) break;
    if (cqe->user_data & 1u) continue;
    results[n].request = io_uring_cqe_get_data(cqe);
    results[n].res = cqe->res == -EFAULT ? -ECANCELED : cqe->res;
    n++;
  }
  return n;
}

/* Without deferred task work completions still come into the ring, each time that the thread which
 * submitted comes back from the kernel: they are given time, for not every kernel lends the pages
 * that they could be read from later. */
static bool still_posts(struct uring_backend *self) {
  uint64_t now = rf_now_ns();
  if (self->iopoll || self->ring.flags & IORING_SETUP_DEFER_TASKRUN) return false;
  if (self->grace_until_ns == 0) self->grace_until_ns = now + GRACE_NS;
  return now < self->grace_until_ns;
}

static int uring_salvage(struct rf_backend *backend, int64_t timeout_ns) {
  struct uring_backend *self = uring_of(backend);
  if (!self->remains.given_up) {
    if (still_posts(self)) return -EINPROGRESS;
    rf_remains_give_up(&self->remains, &self->ring);
  }
  return rf_remains_wait(&self->remains, timeout_ns);
}

static unsigned uring_reap(struct rf_backend *backend, struct rf_result *results, unsigned max) {
  struct uring_backend *self = uring_of(backend);
  if (!self->started) return 0;
  if (self->remains.given_up) return reap_remains(self, results, max);
  if (self->eventfd >= 0) return reap_pollable(self, results, max);
  unsigned n = reap_ring(self, results, max);
  if (n > 0 || !more_in_kernel(self)) return n;
  fetch(self);
  return reap_ring(self, results, max);
}

/* The answer to a cancellation is looked for in the ring and left there: reap() drops it. */
static int cancel_answer(struct uring_backend *self, uint64_t data) {
  struct io_uring_cqe *cqe;
  unsigned head;
  io_uring_for_each_cqe (&self->ring, head, cqe) {
    if (cqe->user_data == data) return cqe->res;
  }
  return -EALREADY; /* under way: the request's own answer will tell */
}

static int uring_cancel(struct rf_backend *backend, struct rf_request *request) {
  struct uring_backend *self = uring_of(backend);
  uint64_t data = DATA_CANCEL + 4 * (uint64_t)++self->cancels;
  if (self->iopoll) return -EALREADY; /* polled I/O cannot be stopped */
  unsigned before = consumed_to(self);
  struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
  if (sqe == NULL) return -EAGAIN;
  io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)request, 0);
  sqe->user_data = data;
  publish(self, self->ring.sq.sqe_tail);
  self->base.syscalls += 2;
  int status = io_uring_submit(&self->ring);
  if (!submitted_since(self, before)) {
    take_back(self, before);
    return status < 0 ? status : -EAGAIN;
  }
  (void)io_uring_get_events(&self->ring);
  return cancel_answer(self, data);
}

static int make_eventfd(struct uring_backend *self) {
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return -errno;
  self->base.syscalls += 2;
  int status = io_uring_register_eventfd(&self->ring, fd);
  if (status != 0)
    close(fd);
  else
    self->eventfd = fd;
  return status;
}

/* A ring with deferred task work does not wake those who poll it when work comes in, only its
 * eventfd (io_req_local_work_add of the kernel's io_uring.c).  Where io_uring_register is refused
 * there is no such ring, and the ring's own descriptor will do. */
static int uring_pollable(struct rf_backend *backend) {
  struct uring_backend *self = uring_of(backend);
  if (self->eventfd >= 0) return self->eventfd;
  if (self->iopoll) return -EOPNOTSUPP; /* nothing comes by itself that could wake anybody */
  int status = start(self);
  if (status == 0) status = make_eventfd(self);
  if (status == 0) return self->eventfd;
  return self->ring.flags & IORING_SETUP_DEFER_TASKRUN ? status : self->ring.ring_fd;
}

static int uring_watch(struct rf_backend *backend, int fd) {
  struct uring_backend *self = uring_of(backend);
  if (self->watching) return 0;
  if (self->iopoll) return -EOPNOTSUPP;
  int status = start(self);
  if (status != 0) return status;
  unsigned before = consumed_to(self);
  struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
  if (sqe == NULL) return -EAGAIN;
  io_uring_prep_poll_add(sqe, fd, POLLIN);
  sqe->user_data = DATA_WATCH;
  publish(self, self->ring.sq.sqe_tail);
  self->base.syscalls++;
  status = io_uring_submit(&self->ring);
  self->watching = submitted_since(self, before);
  if (!self->watching) take_back(self, before);
  return self->watching ? 0 : status < 0 ? status : -EAGAIN;
}

static int uring_register_file(struct rf_backend *backend, unsigned slot, int fd) {
  struct uring_backend *self = uring_of(backend);
  self->base.syscalls++;
  int status = io_uring_register_files_update(&self->ring, slot, &fd, 1);
  return status < 0 ? status : 0;
}

static int uring_register_memory(struct rf_backend *backend, unsigned slot, void *base,
                                 size_t size) {
  struct uring_backend *self = uring_of(backend);
  struct iovec piece = {base, size};
  __u64 no_tag = 0;
  if (size > MEMORY_MOST) return -E2BIG;
  self->base.syscalls++;
  int status = io_uring_register_buffers_update_tag(&self->ring, slot, &piece, &no_tag, 1);
  return status < 0 ? status : 0;
}

const struct rf_backend_ops rf_uring_backend = {
    .name = "io_uring",
    .submit_call = "io_uring_enter",
    .open = uring_open,
    .close = uring_close,
    .abandon = uring_abandon,
    .submit = uring_submit,
    .salvage = uring_salvage,
    .reap = uring_reap,
    .cancel = uring_cancel,
    .pollable = uring_pollable,
    .watch = uring_watch,
    .register_file = uring_register_file,
    .register_memory = uring_register_memory,
};
