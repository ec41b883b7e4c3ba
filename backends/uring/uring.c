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

#define DATA_WATCH  1u
#define DATA_CANCEL 3u /* + 4 * a serial number */

struct uring_backend {
  struct rf_backend base;
  struct io_uring ring;
  bool disabled; /* not enabled yet: no request was ever submitted */
  bool watching;
  unsigned cancels; /* serial number of the last one */
  int eventfd;      /* -1 until pollable(): signalled by the ring */
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

static struct uring_backend *uring_of(struct rf_backend *backend) {
  return (struct uring_backend *)backend;
}

/* ---- opening -------------------------------------------------------------------------------- */

static unsigned power_of_two(unsigned least) {
  unsigned power = 1;
  while (power < least) power *= 2;
  return power;
}

/* ENOMEM is RLIMIT_MEMLOCK on kernels that count rings against it, and memory elsewhere: both may
 * have room for a smaller ring. */
static int setup_ring(struct uring_backend *self, unsigned flags, unsigned depth,
                      struct rf_backend_report *report) {
  for (;; depth /= 2) {
    struct io_uring_params params = {0};
    unsigned entries = depth < RF_BATCH_MAX ? power_of_two(depth) : RF_BATCH_MAX;
    params.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    params.cq_entries = power_of_two(depth < entries ? entries : depth);
    self->base.syscalls++;
    int status = io_uring_queue_init_params(entries, &self->ring, &params);
    if (status == 0) {
      self->base.capacity = depth < params.cq_entries ? depth : params.cq_entries;
      self->disabled = flags & IORING_SETUP_R_DISABLED;
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

/* A rung either works, or leaves no ring behind. */
static int try_rung(struct uring_backend *self, const struct rung *rung, unsigned depth,
                    struct rf_backend_report *report) {
  int status = setup_ring(self, rung->flags, depth, report);
  if (status != 0) return status;
  status = query_kinds(self);
  if (status == 0) return 0;
  rf_report_refusal(report, "io_uring_register", -status);
  if (!self->disabled && status != -ENOMEM) return 0; /* usable all the same */
  io_uring_queue_exit(&self->ring);
  return status;
}

/* EINVAL from setup is a flag that the kernel does not know.  Whatever io_uring_register answers,
 * the rungs below the first can do without it. */
static bool next_rung_may_work(int status, const struct rf_backend_report *report) {
  return status == -EINVAL || strcmp(report->syscall, "io_uring_register") == 0;
}

static int climb_down(struct uring_backend *self, unsigned depth,
                      struct rf_backend_report *report) {
  int status = -EINVAL;
  for (size_t i = 0; i < RUNGS; i++) {
    status = try_rung(self, &ladder[i], depth, report);
    if (status == 0) {
      snprintf(report->features, sizeof(report->features), "%s; ring of %u", ladder[i].name,
               self->base.capacity);
      return 0;
    }
    if (!next_rung_may_work(status, report)) break;
  }
  return status;
}

static int uring_open(const struct rf_backend_config *config, struct rf_backend **out,
                      struct rf_backend_report *report) {
  struct uring_backend *self = calloc(1, sizeof(*self));
  if (self == NULL) return -ENOMEM;
  self->eventfd = -1;
  int status = climb_down(self, config->depth, report);
  if (status != 0) {
    free(self);
    return status;
  }
  self->base.ops = &rf_uring_backend;
  /* HIPRI is for rings opened with IOPOLL; others refuse it. */
  self->base.flags = RF_REQUEST_DSYNC | RF_REQUEST_NOWAIT | RF_REQUEST_STREAM | RF_REQUEST_IOPRIO;
  *out = &self->base;
  return 0;
}

static void uring_close(struct rf_backend *backend) {
  struct uring_backend *self = uring_of(backend);
  io_uring_queue_exit(&self->ring);
  if (self->eventfd >= 0) close(self->eventfd);
  free(self);
}

/* The child's mappings and its descriptor are its own; the ring lives on in the parent. */
static void uring_abandon(struct rf_backend *backend) {
  uring_close(backend);
}

/* ---- submitting ----------------------------------------------------------------------------- */

/* On the owner's thread: this is what makes it the issuer. */
static int enable(struct uring_backend *self) {
  if (!self->disabled) return 0;
  self->base.syscalls++;
  int status = io_uring_enable_rings(&self->ring);
  if (status == 0) self->disabled = false;
  return status;
}

static void prepare_flags(struct io_uring_sqe *sqe, const struct rf_request *request) {
  if (rf_request_rwf(request) != 0) sqe->rw_flags = rf_request_rwf(request);
  if (request->flags & RF_REQUEST_IOPRIO) sqe->ioprio = request->ioprio;
}

static void prepare(struct io_uring_sqe *sqe, struct rf_request *request) {
  unsigned len = (unsigned)request->len;
  uint64_t offset = request->flags & RF_REQUEST_STREAM ? UINT64_MAX : request->offset;
  int fd = request->fd;
  switch (request->kind) {
    case RF_REQUEST_READ:
      io_uring_prep_read(sqe, fd, request->buf, len, offset);
      break;
    case RF_REQUEST_WRITE:
      io_uring_prep_write(sqe, fd, request->buf, len, offset);
      break;
    case RF_REQUEST_READV:
      io_uring_prep_readv(sqe, fd, request->iov, len, offset);
      break;
    case RF_REQUEST_WRITEV:
      io_uring_prep_writev(sqe, fd, request->iov, len, offset);
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
  if (request->flags != 0) prepare_flags(sqe, request);
  sqe->user_data = (uint64_t)(uintptr_t)request;
}

static unsigned consumed_to(const struct uring_backend *self) {
  return __atomic_load_n(self->ring.sq.khead, __ATOMIC_ACQUIRE);
}

/* Takes back what the kernel has not consumed.  Safe because there is no SQPOLL thread: the kernel
 * looks at the submission ring only inside io_uring_enter. */
static void take_back(struct uring_backend *self, unsigned head) {
  self->ring.sq.sqe_head = head;
  self->ring.sq.sqe_tail = head;
  __atomic_store_n(self->ring.sq.ktail, head, __ATOMIC_RELEASE);
}

static bool no_error(int status) {
  return status >= 0 || status == -ETIME || status == -EINTR || status == -EAGAIN;
}

/* Everything that is in the submission ring, and the wait, in one io_uring_enter. */
static int enter(struct uring_backend *self, unsigned wait, int64_t timeout_ns) {
  struct __kernel_timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
  struct io_uring_cqe *first;
  self->base.syscalls++;
  if (wait == 0 || timeout_ns == 0) {
    uint64_t before = rf_now_ns();
    int status = io_uring_submit(&self->ring);
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

static int uring_submit(struct rf_backend *backend, struct rf_request *const *requests, unsigned n,
                        unsigned wait, int64_t timeout_ns) {
  struct uring_backend *self = uring_of(backend);
  int status = enable(self);
  if (status != 0) return status;
  bool poll_after = wait > 0 && timeout_ns > 0 && !(self->ring.features & IORING_FEAT_EXT_ARG);
  bool nothing_to_do = n == 0 && (wait == 0 || timeout_ns == 0);
  if (nothing_to_do || (wait > 0 && io_uring_cq_ready(&self->ring) >= wait && n == 0)) return 0;

  unsigned before = consumed_to(self);
  for (unsigned i = 0; i < n; i++) prepare(io_uring_get_sqe(&self->ring), requests[i]);
  if (n > 0 || !poll_after) status = enter(self, poll_after ? 0 : wait, timeout_ns);
  unsigned after = consumed_to(self);
  unsigned taken = after - before;
  if (taken < n) take_back(self, after);
  if (taken == n && poll_after && no_error(status)) status = wait_by_poll(self, timeout_ns);
  if (taken > 0) return (int)taken;
  if (n > 0) return status < 0 ? status : -EAGAIN;
  return no_error(status) || status == -EBUSY ? 0 : status;
}

/* ---- reaping -------------------------------------------------------------------------------- */

static unsigned reap_ring(struct uring_backend *self, struct rf_result *results, unsigned max) {
  struct io_uring_cqe *cqe;
  unsigned head, seen = 0, n = 0;
  io_uring_for_each_cqe (&self->ring, head, cqe) {
    if (n == max) break;
    seen++;
    if (cqe->user_data == DATA_WATCH) self->watching = false;
    if (cqe->user_data & 1u) continue;
    results[n].request = io_uring_cqe_get_data(cqe);
    results[n].res = cqe->res;
    n++;
  }
  io_uring_cq_advance(&self->ring, seen);
  return n;
}

/* Completions may be held back until the owner enters the kernel (deferred task work), or because
 * the ring was full. */
static bool more_in_kernel(const struct uring_backend *self) {
  unsigned flags = __atomic_load_n(self->ring.sq.kflags, __ATOMIC_ACQUIRE);
  return flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static void fetch(struct uring_backend *self) {
  self->base.syscalls++;
  (void)io_uring_get_events(&self->ring);
}

/* Fetching signals the eventfd, and work signals it only when there was none before.  So it is
 * emptied until nothing is left to be fetched: what comes after that makes it readable again, and
 * is left for the next time. */
static void empty_eventfd(struct uring_backend *self) {
  for (;;) {
    uint64_t count;
    self->base.syscalls++;
    (void)!read(self->eventfd, &count, sizeof(count));
    if (!more_in_kernel(self)) return;
    fetch(self);
  }
}

static unsigned uring_reap(struct rf_backend *backend, struct rf_result *results, unsigned max) {
  struct uring_backend *self = uring_of(backend);
  if (self->disabled) return 0;
  if (self->eventfd >= 0) empty_eventfd(self);
  unsigned n = reap_ring(self, results, max);
  if (n == max || self->eventfd >= 0 || !more_in_kernel(self)) return n;
  fetch(self);
  return n + reap_ring(self, results + n, max - n);
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
  unsigned before = consumed_to(self);
  struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
  io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)request, 0);
  sqe->user_data = data;
  self->base.syscalls += 2;
  int status = io_uring_submit(&self->ring);
  if (consumed_to(self) == before) {
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
  int status = enable(self);
  if (status == 0) status = make_eventfd(self);
  if (status == 0) return self->eventfd;
  return self->ring.flags & IORING_SETUP_DEFER_TASKRUN ? status : self->ring.ring_fd;
}

static int uring_watch(struct rf_backend *backend, int fd) {
  struct uring_backend *self = uring_of(backend);
  if (self->watching) return 0;
  int status = enable(self);
  if (status != 0) return status;
  unsigned before = consumed_to(self);
  struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
  io_uring_prep_poll_add(sqe, fd, POLLIN);
  sqe->user_data = DATA_WATCH;
  self->base.syscalls++;
  status = io_uring_submit(&self->ring);
  self->watching = consumed_to(self) != before;
  if (!self->watching) take_back(self, before);
  return self->watching ? 0 : status < 0 ? status : -EAGAIN;
}

const struct rf_backend_ops rf_uring_backend = {
    .name = "io_uring",
    .submit_call = "io_uring_enter",
    .open = uring_open,
    .close = uring_close,
    .abandon = uring_abandon,
    .submit = uring_submit,
    .reap = uring_reap,
    .cancel = uring_cancel,
    .pollable = uring_pollable,
    .watch = uring_watch,
};
