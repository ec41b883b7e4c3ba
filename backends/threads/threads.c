// SPDX-License-Identifier: Apache-2.0
/*
 * The threads backend: the plain system calls, on a small pool of workers.
 *
 * The last resort that always works, and the place where ops go that another backend cannot run.
 * Each queue has its own pool, so that a slow fsync in one queue cannot hold up another.  Workers
 * are started one by one as requests find nobody idle, up to the configured number; a queue that
 * never needs them has none.  Should not even the first one start (RLIMIT_NPROC), requests are run
 * in submit(), on the caller's thread.
 *
 * A request that asks for it (HERE) is performed in submit() itself.
 *
 * The others wait in a list under one mutex and come back in another.  The owner sleeps on a
 * condition variable, or on an eventfd once it has asked for one (pollable).
 *
 * Workers block every signal: handlers of the program never run on them, and the SIGXFSZ of a write
 * past RLIMIT_FSIZE stays pending there instead of ending the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "backends/backend.h"
#include "backends/thread.h"

#define WORKER_STACK (256u * 1024u)

enum { STATE_QUEUED = 1, STATE_RUNNING = 2, STATE_DONE = 3 };

struct list {
  struct rf_request *head;
  struct rf_request **tail;
};

struct threads_backend {
  struct rf_backend base;
  pthread_t *workers;
  unsigned max;
  /* These four for the owner's thread only. */
  unsigned started;
  unsigned with_workers; /* requests handed to workers and not yet reaped */
  unsigned here_count;   /* requests performed in submit() and not yet reaped */
  struct list here;

  int eventfd;          /* -1 until pollable(); set while no request is in flight */
  pthread_mutex_t lock; /* guards what follows */
  pthread_cond_t work;  /* there is something to do, or stop is set */
  pthread_cond_t ready; /* done_count has reached wanted */
  struct list queued;
  struct list done;
  unsigned queued_count;
  unsigned done_count;
  unsigned wanted; /* the owner sleeps until that many are done; 0 = it does not sleep */
  unsigned idle;
  bool signalled; /* the eventfd is readable */
  bool stop;
};

static struct threads_backend *threads_of(struct rf_backend *backend) {
  return (struct threads_backend *)backend;
}

static void list_init(struct list *list) {
  list->head = NULL;
  list->tail = &list->head;
}

static void list_push(struct list *list, struct rf_request *request) {
  request->own.listed.next = NULL;
  *list->tail = request;
  list->tail = &request->own.listed.next;
}

static struct rf_request *list_pop(struct list *list) {
  struct rf_request *request = list->head;
  if (request == NULL) return NULL;
  list->head = request->own.listed.next;
  if (list->head == NULL) list->tail = &list->head;
  return request;
}

static bool list_remove(struct list *list, struct rf_request *request) {
  for (struct rf_request **at = &list->head; *at != NULL; at = &(*at)->own.listed.next) {
    if (*at != request) continue;
    *at = request->own.listed.next;
    if (*at == NULL) list->tail = at;
    return true;
  }
  return false;
}

/* ---- the system calls ---------------------------------------------------------------------- */

/* preadv2 and pwritev2 take -1 for 'the file's own position', which is what streams need. */
static ssize_t transfer(const struct rf_request *request, bool write) {
  struct iovec one = {request->buf, request->len};
  bool vectored = request->kind == RF_REQUEST_READV || request->kind == RF_REQUEST_WRITEV;
  const struct iovec *iov = vectored ? request->iov : &one;
  int count = vectored ? (int)request->len : 1;
  off_t offset = request->flags & RF_REQUEST_STREAM ? -1 : (off_t)request->offset;
  int flags = rf_request_rwf(request);

  if (flags != 0 || offset == -1)
    return write ? pwritev2(request->fd, iov, count, offset, flags)
                 : preadv2(request->fd, iov, count, offset, flags);
  if (vectored)
    return write ? pwritev(request->fd, iov, count, offset)
                 : preadv(request->fd, iov, count, offset);
  return write ? pwrite(request->fd, request->buf, request->len, offset)
               : pread(request->fd, request->buf, request->len, offset);
}

static long call(const struct rf_request *request) {
  uint64_t range[2] = {request->offset, request->len};
  switch (request->kind) {
    case RF_REQUEST_NOP:
      return 0;
    case RF_REQUEST_READ:
    case RF_REQUEST_READV:
      return transfer(request, false);
    case RF_REQUEST_WRITE:
    case RF_REQUEST_WRITEV:
      return transfer(request, true);
    case RF_REQUEST_FSYNC:
      return fsync(request->fd);
    case RF_REQUEST_FDATASYNC:
      return fdatasync(request->fd);
    case RF_REQUEST_FALLOCATE:
      return fallocate(request->fd, request->mode, (off_t)request->offset, (off_t)request->len);
    case RF_REQUEST_BLOCK_DISCARD:
      return ioctl(request->fd, BLKDISCARD, range);
    default:
      errno = EINVAL;
      return -1;
  }
}

/* A stream with O_NONBLOCK answers EAGAIN instead of waiting.  io_uring, which has such files
 * polled (unless NOWAIT is set), waits for them as for others, and so does a worker. */
static void wait_for_stream(const struct rf_request *request) {
  bool write = request->kind == RF_REQUEST_WRITE || request->kind == RF_REQUEST_WRITEV;
  struct pollfd stream = {request->fd, write ? POLLOUT : POLLIN, 0};
  int flags = fcntl(request->fd, F_GETFL);
  if (flags >= 0 && flags & O_NONBLOCK) (void)poll(&stream, 1, -1);
}

static bool is_to_wait(const struct rf_request *request, int64_t answer) {
  unsigned flags = request->flags & (RF_REQUEST_STREAM | RF_REQUEST_NOWAIT);
  return answer == -EAGAIN && flags == RF_REQUEST_STREAM;
}

/* The other backends give the priority along with the request; here it is the thread's for the
 * length of the call. */
static int64_t perform(const struct rf_request *request) {
  enum { WHO_PROCESS = 1 };
  long before = 0;
  if (request->flags & RF_REQUEST_IOPRIO) {
    before = syscall(SYS_ioprio_get, WHO_PROCESS, 0);
    if (syscall(SYS_ioprio_set, WHO_PROCESS, 0, (int)request->ioprio) != 0) return -errno;
  }
  long res = call(request);
  int64_t answer = res < 0 ? -errno : res;
  if (is_to_wait(request, answer)) {
    wait_for_stream(request);
    res = call(request);
    answer = res < 0 ? -errno : res;
  }
  if (request->flags & RF_REQUEST_IOPRIO) (void)syscall(SYS_ioprio_set, WHO_PROCESS, 0, before);
  return answer;
}

/* ---- workers -------------------------------------------------------------------------------- */

/* The lock is held. */
static void finish(struct threads_backend *self, struct rf_request *request, int64_t res) {
  request->state = STATE_DONE;
  request->own.listed.res = res;
  list_push(&self->done, request);
  self->done_count++;
  if (self->wanted != 0 && self->done_count >= self->wanted) pthread_cond_signal(&self->ready);
  if (self->eventfd >= 0 && !self->signalled) {
    uint64_t one = 1;
    ssize_t wrote = write(self->eventfd, &one, sizeof(one));
    self->signalled = wrote == (ssize_t)sizeof(one);
  }
}

static void *worker(void *argument) {
  struct threads_backend *self = argument;
  pthread_mutex_lock(&self->lock);
  for (;;) {
    struct rf_request *request = list_pop(&self->queued);
    if (request == NULL) {
      if (self->stop) break;
      self->idle++;
      pthread_cond_wait(&self->work, &self->lock);
      self->idle--;
      continue;
    }
    self->queued_count--;
    request->state = STATE_RUNNING;
    pthread_mutex_unlock(&self->lock);
    int64_t res = perform(request);
    pthread_mutex_lock(&self->lock);
    finish(self, request, res);
  }
  pthread_mutex_unlock(&self->lock);
  return NULL;
}

static bool start_worker(struct threads_backend *self) {
  if (rf_thread_start(&self->workers[self->started], WORKER_STACK, worker, self) != 0) return false;
  self->started++;
  return true;
}

/* Nobody could be started: the caller's own thread does the work, with signals held back as a
 * worker would. */
static void run_here(struct threads_backend *self) {
  sigset_t all, before;
  struct timespec now = {0, 0};
  sigset_t xfsz;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_mutex_lock(&self->lock);
  for (struct rf_request *request; (request = list_pop(&self->queued)) != NULL;) {
    self->queued_count--;
    int64_t res = perform(request);
    self->base.syscalls++;
    finish(self, request, res);
  }
  pthread_mutex_unlock(&self->lock);
  sigemptyset(&xfsz);
  sigaddset(&xfsz, SIGXFSZ);
  if (!sigismember(&before, SIGXFSZ)) (void)sigtimedwait(&xfsz, NULL, &now);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- the contract's functions --------------------------------------------------------------- */

static void threads_free(struct threads_backend *self) {
  if (self->eventfd >= 0) close(self->eventfd);
  free(self->workers);
  free(self);
}

static int threads_open(const struct rf_backend_config *config, struct rf_backend **out,
                        struct rf_backend_report *report) {
  struct threads_backend *self = calloc(1, sizeof(*self));
  if (self == NULL) return -ENOMEM;
  self->max = config->workers < config->depth ? config->workers : config->depth;
  self->workers = calloc(self->max, sizeof(*self->workers));
  self->eventfd = -1;
  list_init(&self->here);
  list_init(&self->queued);
  list_init(&self->done);
  if (self->workers == NULL) {
    threads_free(self);
    return -ENOMEM;
  }
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&self->lock, NULL);
  pthread_cond_init(&self->work, NULL);
  pthread_cond_init(&self->ready, &monotonic);
  pthread_condattr_destroy(&monotonic);

  self->base.ops = &rf_threads_backend;
  self->base.kinds = (1u << RF_REQUEST_KINDS) - 1u;
  self->base.flags = RF_REQUEST_DSYNC | RF_REQUEST_NOWAIT | RF_REQUEST_HIPRI | RF_REQUEST_STREAM |
                     RF_REQUEST_IOPRIO | RF_REQUEST_HINTS;
  self->base.capacity = config->depth;
  snprintf(report->features, sizeof(report->features), "up to %u workers, started as needed",
           self->max);
  *out = &self->base;
  return 0;
}

static void threads_close(struct rf_backend *backend) {
  struct threads_backend *self = threads_of(backend);
  pthread_mutex_lock(&self->lock);
  self->stop = true;
  pthread_cond_broadcast(&self->work);
  pthread_mutex_unlock(&self->lock);
  for (unsigned i = 0; i < self->started; i++) pthread_join(self->workers[i], NULL);
  pthread_cond_destroy(&self->ready);
  pthread_cond_destroy(&self->work);
  pthread_mutex_destroy(&self->lock);
  threads_free(self);
}

/* The workers do not exist in the child, and the lock may have been theirs. */
static void threads_abandon(struct rf_backend *backend) {
  threads_free(threads_of(backend));
}

/* As many workers as there are requests that nobody idle will take.  The lock is not held. */
static void start_workers(struct threads_backend *self, unsigned missing) {
  while (missing-- > 0 && self->started < self->max)
    if (!start_worker(self)) break;
  if (self->started == 0) run_here(self);
}

/* The lock is held; it is given up while the owner sleeps. */
static void wait_done(struct threads_backend *self, unsigned wait, int64_t timeout_ns) {
  struct timespec until;
  if (timeout_ns > 0) {
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ns / 1000000000;
    until.tv_nsec += timeout_ns % 1000000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
  }
  self->wanted = wait;
  while (self->done_count < wait) {
    self->base.syscalls++;
    int error = timeout_ns < 0 ? pthread_cond_wait(&self->ready, &self->lock)
                               : pthread_cond_timedwait(&self->ready, &self->lock, &until);
    if (error == ETIMEDOUT) break;
  }
  self->wanted = 0;
}

static void perform_here(struct threads_backend *self, struct rf_request *request) {
  int64_t res = perform(request);
  self->base.syscalls++;
  request->own.listed.res = res;
  list_push(&self->here, request);
  self->here_count++;
}

static void hand_to_workers(struct threads_backend *self, struct rf_request *const *requests,
                            unsigned n) {
  unsigned handed = 0;
  pthread_mutex_lock(&self->lock);
  for (unsigned i = 0; i < n; i++) {
    if (requests[i]->flags & RF_REQUEST_HERE) continue;
    requests[i]->state = STATE_QUEUED;
    list_push(&self->queued, requests[i]);
    handed++;
  }
  self->queued_count += handed;
  unsigned wake = handed < self->idle ? handed : self->idle;
  unsigned missing = self->queued_count > self->idle ? self->queued_count - self->idle : 0;
  for (unsigned i = 0; i < wake; i++) pthread_cond_signal(&self->work);
  pthread_mutex_unlock(&self->lock);
  self->with_workers += handed;
  self->base.syscalls += wake;
  start_workers(self, missing);
}

/* Workers begin before this thread takes its own share. */
static int threads_submit(struct rf_backend *backend, struct rf_request *const *requests,
                          unsigned n, unsigned wait, int64_t timeout_ns) {
  struct threads_backend *self = threads_of(backend);
  unsigned here = 0;
  for (unsigned i = 0; i < n; i++) here += (requests[i]->flags & RF_REQUEST_HERE) != 0;
  if (here < n) hand_to_workers(self, requests, n);
  for (unsigned i = 0; i < n && here > 0; i++)
    if (requests[i]->flags & RF_REQUEST_HERE) perform_here(self, requests[i]);
  if (wait > self->here_count && timeout_ns != 0) {
    pthread_mutex_lock(&self->lock);
    wait_done(self, wait - self->here_count, timeout_ns);
    pthread_mutex_unlock(&self->lock);
  }
  return (int)n;
}

static unsigned give(struct list *list, struct rf_result *results, unsigned max) {
  unsigned n = 0;
  while (n < max) {
    struct rf_request *request = list_pop(list);
    if (request == NULL) break;
    results[n].request = request;
    results[n].res = request->own.listed.res;
    n++;
  }
  return n;
}

static unsigned reap_workers(struct threads_backend *self, struct rf_result *results,
                             unsigned max) {
  pthread_mutex_lock(&self->lock);
  unsigned n = give(&self->done, results, max);
  self->done_count -= n;
  if (self->signalled && self->done_count == 0) {
    uint64_t count;
    ssize_t got = read(self->eventfd, &count, sizeof(count));
    self->signalled = got < 0;
    self->base.syscalls++;
  }
  pthread_mutex_unlock(&self->lock);
  self->with_workers -= n;
  return n;
}

static unsigned threads_reap(struct rf_backend *backend, struct rf_result *results, unsigned max) {
  struct threads_backend *self = threads_of(backend);
  unsigned n = give(&self->here, results, max);
  self->here_count -= n;
  if (self->with_workers > 0 && n < max) n += reap_workers(self, results + n, max - n);
  return n;
}

static int threads_cancel(struct rf_backend *backend, struct rf_request *request) {
  struct threads_backend *self = threads_of(backend);
  int status = -EALREADY;
  pthread_mutex_lock(&self->lock);
  if (request->state == STATE_QUEUED && list_remove(&self->queued, request)) {
    self->queued_count--;
    finish(self, request, -ECANCELED);
    status = 0;
  }
  pthread_mutex_unlock(&self->lock);
  return status;
}

static int threads_pollable(struct rf_backend *backend) {
  struct threads_backend *self = threads_of(backend);
  if (self->eventfd < 0) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) return -errno;
    pthread_mutex_lock(&self->lock);
    self->eventfd = fd;
    pthread_mutex_unlock(&self->lock);
  }
  return self->eventfd;
}

/* The owner sleeps on a condition variable, which no descriptor can end.  The core waits on another
 * backend whenever more than this one is at work. */
static int threads_watch(struct rf_backend *backend, int fd) {
  (void)backend;
  (void)fd;
  return -EOPNOTSUPP;
}

/* Workers answer by themselves. */
static int threads_salvage(struct rf_backend *backend, int64_t timeout_ns) {
  struct threads_backend *self = threads_of(backend);
  pthread_mutex_lock(&self->lock);
  if (timeout_ns != 0 && self->here_count == 0) wait_done(self, 1, timeout_ns);
  pthread_mutex_unlock(&self->lock);
  return -EINPROGRESS;
}

const struct rf_backend_ops rf_threads_backend = {
    .name = "threads",
    .submit_call = "pread, pwrite",
    .open = threads_open,
    .close = threads_close,
    .abandon = threads_abandon,
    .submit = threads_submit,
    .salvage = threads_salvage,
    .reap = threads_reap,
    .cancel = threads_cancel,
    .pollable = threads_pollable,
    .watch = threads_watch,
    .register_file = rf_register_no_file,
    .register_memory = rf_register_no_memory,
};
