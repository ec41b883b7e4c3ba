// SPDX-License-Identifier: Apache-2.0
/*
 * The libaio backend: Linux AIO, in batches.
 *
 * The control block of each request lives inside the request, so one io_submit takes a whole batch
 * and nothing is allocated.  Completions are taken from the ring that the kernel maps into the
 * process, without a system call; io_pgetevents is used only to sleep.  That ring's layout is not
 * part of any header, but has been the same since the kernel marks it with a magic number, which is
 * checked (struct aio_ring in the kernel's fs/aio.c); if it is not as expected, io_pgetevents
 * fetches everything.
 *
 * io_submit reports what is wrong with one control block (a bad descriptor, an op that the file
 * does not have) by stopping in front of it.  Such a request is taken and answered here, like those
 * that fail later.  What is wrong with the context or with the call itself (a seccomp filter) is
 * told from that by submitting nothing: io_submit of zero blocks fails only in the second case.
 *
 * Where io_pgetevents is refused, the system call io_getevents is used.  libaio's function of that
 * name will not do: in newer releases it calls io_pgetevents first, and the other for ENOSYS only.
 */
#include <errno.h>
#include <libaio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "backends/backend.h"
#include "backends/mapping.h"

_Static_assert(sizeof(struct iocb) <= sizeof(((struct rf_request *)0)->own),
               "a control block fits into a request");

#define RING_MAGIC 0xa10a10a1u

/* Of linux/aio_abi.h, which cannot be included together with libaio.h. */
enum { IOCB_FLAG_RESFD = 1 << 0, IOCB_FLAG_IOPRIO = 1 << 1 };

/* struct aio_ring of the kernel. */
struct completion_ring {
  unsigned id;
  unsigned nr;
  unsigned head;
  unsigned tail;
  unsigned magic;
  unsigned compat_features;
  unsigned incompat_features;
  unsigned header_length;
  struct io_event events[];
};

typedef int getevents_call(io_context_t ctx, long min, long max, struct io_event *events,
                           struct timespec *timeout);

struct libaio_backend {
  struct rf_backend base;
  io_context_t context;
  struct completion_ring *ring; /* NULL: not usable from here */
  getevents_call *getevents;
  struct io_event *events; /* fetched by a wait, not yet reaped: [first, last) */
  unsigned events_max;
  unsigned first, last;
  struct rf_request *refused; /* taken, and answered by io_submit itself */
  unsigned refused_count;
  int eventfd; /* -1 until pollable(): then each control block signals it */
  bool watching;
  struct iocb watch;
};

static struct libaio_backend *libaio_of(struct rf_backend *backend) {
  return (struct libaio_backend *)backend;
}

static int pgetevents(io_context_t ctx, long min, long max, struct io_event *events,
                      struct timespec *timeout) {
  return io_pgetevents(ctx, min, max, events, timeout, NULL);
}

static int getevents(io_context_t ctx, long min, long max, struct io_event *events,
                     struct timespec *timeout) {
#if defined(SYS_io_getevents) && __SIZEOF_LONG__ == 8 /* elsewhere its timespec may be another */
  long got = syscall(SYS_io_getevents, ctx, min, max, events, timeout);
  return got < 0 ? -errno : (int)got;
#else
  return io_getevents(ctx, min, max, events, timeout);
#endif
}

/* ---- opening -------------------------------------------------------------------------------- */

/* EAGAIN is fs.aio-max-nr, ENOMEM the kernel: both may have room for a smaller context. */
static int setup_context(struct libaio_backend *self, unsigned depth,
                         struct rf_backend_report *report) {
  for (;; depth /= 2) {
    self->base.syscalls++;
    int status = io_setup((int)depth, &self->context);
    if (status == 0) {
      rf_mapping_made();
      self->base.capacity = depth;
      return 0;
    }
    rf_report_refusal(report, "io_setup", -status);
    if ((status != -EAGAIN && status != -ENOMEM) || depth == 1) return status;
  }
}

/* Asks for nothing, with a time-out that is not zero: zero would be answered inside libaio without
 * a system call. */
static int try_getevents(struct libaio_backend *self, getevents_call *call) {
  struct timespec least = {0, 1};
  struct io_event event;
  self->base.syscalls++;
  int status = call(self->context, 0, 1, &event, &least);
  return status < 0 && status != -EINTR ? status : 0;
}

static int choose_getevents(struct libaio_backend *self, struct rf_backend_report *report) {
  int status = try_getevents(self, pgetevents);
  self->getevents = pgetevents;
  if (status == 0) return 0;
  rf_report_refusal(report, "io_pgetevents", -status);
  self->getevents = getevents;
  return try_getevents(self, getevents);
}

static void map_ring(struct libaio_backend *self) {
  struct completion_ring *ring = (struct completion_ring *)self->context;
  bool known = ring->magic == RING_MAGIC && ring->incompat_features == 0 &&
               ring->header_length == sizeof(*ring);
  self->ring = known ? ring : NULL;
}

static void libaio_free(struct libaio_backend *self) {
  if (self->eventfd >= 0) close(self->eventfd);
  free(self->events);
  free(self);
}

static int libaio_open(const struct rf_backend_config *config, struct rf_backend **out,
                       struct rf_backend_report *report) {
  struct libaio_backend *self = calloc(1, sizeof(*self));
  if (self == NULL) return -ENOMEM;
  self->eventfd = -1;
  int status = setup_context(self, config->depth, report);
  if (status != 0) goto fail;
  status = choose_getevents(self, report);
  if (status != 0) goto fail_context;
  map_ring(self);
  self->events_max = self->base.capacity + 1; /* and the watch */
  self->events = calloc(self->events_max, sizeof(*self->events));
  status = -ENOMEM;
  if (self->events == NULL) goto fail_context;

  self->base.ops = &rf_libaio_backend;
  self->base.kinds = 1u << RF_REQUEST_READ | 1u << RF_REQUEST_WRITE | 1u << RF_REQUEST_READV |
                     1u << RF_REQUEST_WRITEV | 1u << RF_REQUEST_FSYNC | 1u << RF_REQUEST_FDATASYNC;
  self->base.flags = RF_REQUEST_DSYNC | RF_REQUEST_NOWAIT | RF_REQUEST_HIPRI | RF_REQUEST_IOPRIO |
                     RF_REQUEST_HINTS;
  snprintf(report->features, sizeof(report->features), "context of %u, %s%s", self->base.capacity,
           self->ring != NULL ? "completions read from the shared ring, " : "",
           self->getevents == pgetevents ? "io_pgetevents" : "io_getevents");
  *out = &self->base;
  return 0;

fail_context:
  rf_mapping_goes();
  io_destroy(self->context);
fail:
  libaio_free(self);
  return status;
}

static void libaio_close(struct rf_backend *backend) {
  struct libaio_backend *self = libaio_of(backend);
  rf_mapping_goes();
  if (self->context != NULL) io_destroy(self->context);
  libaio_free(self);
}

/* The context and its ring are not mapped in the child. */
static void libaio_abandon(struct rf_backend *backend) {
  libaio_free(libaio_of(backend));
}

/* ---- submitting ----------------------------------------------------------------------------- */

static struct iocb *prepare(struct libaio_backend *self, struct rf_request *request) {
  static const short opcodes[RF_REQUEST_KINDS] = {
      [RF_REQUEST_NOP] = IO_CMD_NOOP,         [RF_REQUEST_READ] = IO_CMD_PREAD,
      [RF_REQUEST_WRITE] = IO_CMD_PWRITE,     [RF_REQUEST_READV] = IO_CMD_PREADV,
      [RF_REQUEST_WRITEV] = IO_CMD_PWRITEV,   [RF_REQUEST_FSYNC] = IO_CMD_FSYNC,
      [RF_REQUEST_FDATASYNC] = IO_CMD_FDSYNC,
  };
  bool transfer = request->kind != RF_REQUEST_FSYNC && request->kind != RF_REQUEST_FDATASYNC;
  struct iocb *block = (struct iocb *)(void *)request->own.bytes;
  memset(block, 0, sizeof(*block));
  block->data = request;
  block->aio_lio_opcode = opcodes[request->kind];
  block->aio_fildes = request->fd;
  if (transfer) {
    block->u.c.buf = request->buf;
    block->u.c.nbytes = request->len;
    block->u.c.offset = (long long)request->offset;
    block->aio_rw_flags = (unsigned)rf_request_rwf(request);
  }
  if (request->flags & RF_REQUEST_IOPRIO) {
    block->aio_reqprio = (short)request->ioprio;
    block->u.c.flags |= IOCB_FLAG_IOPRIO;
  }
  if (self->eventfd >= 0) {
    block->u.c.flags |= IOCB_FLAG_RESFD;
    block->u.c.resfd = (unsigned)self->eventfd;
  }
  return block;
}

static void refuse(struct libaio_backend *self, struct rf_request *request, int status) {
  request->own.listed.next = self->refused;
  request->own.listed.res = status;
  self->refused = request;
  self->refused_count++;
  if (self->eventfd >= 0) {
    uint64_t one = 1;
    (void)!write(self->eventfd, &one, sizeof(one));
  }
}

static int submit_blocks(struct libaio_backend *self, struct iocb **blocks, unsigned n) {
  uint64_t before = rf_now_ns();
  int status = io_submit(self->context, (long)n, blocks);
  self->base.syscalls++;
  self->base.submit_ns += rf_now_ns() - before;
  return status;
}

static bool not_now(int status) {
  return status == -EAGAIN || status == -EINTR || status == -ENOMEM || status == -EBUSY;
}

/* How many were taken, or -errno if none was. */
static int submit_all(struct libaio_backend *self, struct rf_request *const *requests, unsigned n) {
  struct iocb *blocks[RF_BATCH_MAX];
  unsigned taken = 0;
  for (unsigned i = 0; i < n; i++) blocks[i] = prepare(self, requests[i]);
  while (taken < n) {
    int status = submit_blocks(self, blocks + taken, n - taken);
    if (status > 0) {
      taken += (unsigned)status;
      continue;
    }
    if (status == 0) status = -EAGAIN;
    int broken = not_now(status) ? status : submit_blocks(self, blocks, 0);
    if (broken < 0) return taken > 0 ? (int)taken : broken;
    refuse(self, requests[taken], status);
    taken++;
  }
  return (int)taken;
}

/* ---- reaping -------------------------------------------------------------------------------- */

static unsigned ring_count(const struct libaio_backend *self) {
  if (self->ring == NULL) return 0;
  unsigned tail = __atomic_load_n(&self->ring->tail, __ATOMIC_ACQUIRE);
  unsigned head = self->ring->head;
  return tail >= head ? tail - head : tail + self->ring->nr - head;
}

/* Fetches into the empty buffer.  0 or -errno; nothing there, a time-out and a signal are 0. */
static int fetch(struct libaio_backend *self, unsigned min, struct timespec *timeout) {
  if (min > self->events_max) min = self->events_max;
  self->first = self->last = 0;
  self->base.syscalls++;
  int got =
      self->getevents(self->context, (long)min, (long)self->events_max, self->events, timeout);
  if (got < 0) return got == -EINTR ? 0 : got;
  self->last = (unsigned)got;
  return 0;
}

static int wait_for(struct libaio_backend *self, unsigned wait, int64_t timeout_ns) {
  unsigned there = self->refused_count + (self->last - self->first) + ring_count(self);
  struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
  if (there >= wait || self->first != self->last) return 0;
  return fetch(self, wait - self->refused_count, timeout_ns < 0 ? NULL : &timeout);
}

static int libaio_submit(struct rf_backend *backend, struct rf_request *const *requests, unsigned n,
                         unsigned wait, int64_t timeout_ns) {
  struct libaio_backend *self = libaio_of(backend);
  int taken = n > 0 ? submit_all(self, requests, n) : 0;
  if (taken != (int)n || wait == 0 || timeout_ns == 0) return taken;
  int status = wait_for(self, wait, timeout_ns);
  return n > 0 ? taken : status;
}

static unsigned reap_refused(struct libaio_backend *self, struct rf_result *results, unsigned max) {
  unsigned n = 0;
  for (; n < max && self->refused != NULL; n++) {
    results[n].request = self->refused;
    results[n].res = self->refused->own.listed.res;
    self->refused = self->refused->own.listed.next;
  }
  self->refused_count -= n;
  return n;
}

/* True if it is the answer to a request. */
static bool read_event(struct libaio_backend *self, const struct io_event *event,
                       struct rf_result *result) {
  if (event->obj == &self->watch) {
    self->watching = false;
    return false;
  }
  result->request = event->data;
  result->res = (int64_t)(long)event->res; /* io_event.res is unsigned */
  return true;
}

static unsigned reap_fetched(struct libaio_backend *self, struct rf_result *results, unsigned max) {
  unsigned n = 0;
  while (n < max && self->first != self->last)
    n += read_event(self, &self->events[self->first++], &results[n]);
  return n;
}

static unsigned reap_ring(struct libaio_backend *self, struct rf_result *results, unsigned max) {
  struct completion_ring *ring = self->ring;
  if (ring == NULL) return 0;
  unsigned tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
  unsigned head = ring->head, n = 0;
  if (head == tail) return 0;
  while (n < max && head != tail) {
    n += read_event(self, &ring->events[head], &results[n]);
    if (++head == ring->nr) head = 0;
  }
  __atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
  return n;
}

static unsigned libaio_reap(struct rf_backend *backend, struct rf_result *results, unsigned max) {
  struct libaio_backend *self = libaio_of(backend);
  struct timespec now = {0, 0};
  if (self->eventfd >= 0) {
    uint64_t count; /* before looking, so that what comes later makes it readable again */
    (void)!read(self->eventfd, &count, sizeof(count));
    self->base.syscalls++;
  }
  if (self->ring == NULL && self->context != NULL && self->first == self->last)
    (void)fetch(self, 0, &now);
  unsigned n = reap_refused(self, results, max);
  n += reap_fetched(self, results + n, max - n);
  return n + reap_ring(self, results + n, max - n);
}

/* In the shared ring the kernel answers by itself.  Without that ring only io_getevents would tell;
 * io_destroy waits until all requests are done (Linux 3.19), and their answers are lost. */
static int libaio_salvage(struct rf_backend *backend, int64_t timeout_ns) {
  struct libaio_backend *self = libaio_of(backend);
  struct timespec pause = {timeout_ns / 1000000000, timeout_ns % 1000000000};
  if (self->ring != NULL) {
    if (timeout_ns > 0 && ring_count(self) == 0) (void)nanosleep(&pause, NULL);
    return -EINPROGRESS;
  }
  if (self->context == NULL) return 0;
  rf_mapping_goes();
  int status = io_destroy(self->context);
  if (status == 0) self->context = NULL;
  return status;
}

/* -EINPROGRESS: stopped, and the event comes through the ring.  The kernel can stop polls but, so
 * far, no disk I/O: that is -EINVAL. */
static int libaio_cancel(struct rf_backend *backend, struct rf_request *request) {
  struct libaio_backend *self = libaio_of(backend);
  struct io_event event;
  self->base.syscalls++;
  int status = io_cancel(self->context, (struct iocb *)(void *)request->own.bytes, &event);
  if (status == -EINPROGRESS) return 0;
  return status == 0 ? -EALREADY : status;
}

static int libaio_pollable(struct rf_backend *backend) {
  struct libaio_backend *self = libaio_of(backend);
  if (self->eventfd < 0) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) return -errno;
    self->eventfd = fd;
  }
  return self->eventfd;
}

/* IOCB_CMD_POLL: Linux 4.18, the same release as io_pgetevents. */
static int libaio_watch(struct rf_backend *backend, int fd) {
  struct libaio_backend *self = libaio_of(backend);
  struct iocb *blocks[1] = {&self->watch};
  if (self->watching) return 0;
  memset(&self->watch, 0, sizeof(self->watch));
  self->watch.aio_lio_opcode = IO_CMD_POLL;
  self->watch.aio_fildes = fd;
  self->watch.u.poll.events = POLLIN;
  int status = submit_blocks(self, blocks, 1);
  self->watching = status == 1;
  return status == 1 ? 0 : status < 0 ? status : -EAGAIN;
}

const struct rf_backend_ops rf_libaio_backend = {
    .name = "libaio",
    .submit_call = "io_submit",
    .open = libaio_open,
    .close = libaio_close,
    .abandon = libaio_abandon,
    .submit = libaio_submit,
    .salvage = libaio_salvage,
    .reap = libaio_reap,
    .cancel = libaio_cancel,
    .pollable = libaio_pollable,
    .watch = libaio_watch,
    .register_file = rf_register_no_file,
    .register_memory = rf_register_no_memory,
};
