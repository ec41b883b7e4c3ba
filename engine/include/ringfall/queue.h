// SPDX-License-Identifier: Apache-2.0
/*
 * <ringfall/queue.h>: where one thread submits ops and reaps completions.
 *
 * Threads: a queue belongs to the first thread that submits, waits, reaps or asks for its
 * descriptor; another thread that does so gets -EPERM and changes nothing.  rf_queue_counters may
 * be called by any thread.  Use a queue a thread; any number of queues may share an engine and its
 * files.  A thread closes its queue before it ends: of one that ends with ops in its queue the
 * kernel stops some, and others go on; their buffers and files stay in use, and nobody may close
 * the queue or the engine any more (-EPERM, -EBUSY).  Nothing hangs.
 *
 * Memory: everything a queue needs is allocated when it is opened (about 256 bytes an op and the
 * kernel's rings); submitting, waiting and reaping allocate nothing.
 *
 * Batches: rf_submit only collects.  Ops reach the kernel when a batch is full, or at the next
 * rf_flush, rf_submit_and_wait, rf_wait or rf_reap, so that a program that submits one op at a
 * time still pays one system call a batch.  A program that goes to sleep on rf_queue_fd calls
 * rf_flush before.
 */
#ifndef RINGFALL_QUEUE_H
#define RINGFALL_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include <ringfall/counters.h>
#include <ringfall/op.h>
#include <ringfall/verdict.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rf_engine;
struct rf_queue;

#define RF_DEPTH_MAX 65536u      /* of rf_queue_options.depth */
#define RF_FOREVER   INT64_C(-1) /* as timeout_ns: no limit */

/* May a call of this queue wait for a device or a lock on behalf of an op?  Matters only where the
 * engine's choice of a backend is AUTO; another choice sends every op to that backend. */
enum rf_policy {
  /* No: what the backend could only do on this thread goes to workers. */
  RF_POLICY_NEVER_BLOCK = 0,
  /* Yes, for transfers of up to 64 KiB: where handing an op to another thread costs more than the
   * op (memory file systems, buffered writes to most others), it is done on this one, by libaio a
   * batch at a time where that works, else by the plain system call.  Beside an io_uring such a
   * queue has a libaio context of up to 64 requests, which the kernel takes 10 to 50 ms to close.
   */
  RF_POLICY_MAY_BLOCK = 1,
};

/* Always begin with rf_queue_options_init(). */
struct rf_queue_options {
  uint32_t size;  /* sizeof(struct rf_queue_options), set by _init */
  unsigned depth; /* ops in the queue at most: 1 to RF_DEPTH_MAX; default 128 */
  unsigned batch; /* ops collected before they are handed over; default 32; at most depth counts */
  unsigned workers; /* threads this queue may start, when it needs any: 1 to 1024; default 16 */
  bool latency;     /* keep the histogram of rf_queue_latency; default false */
  enum rf_policy policy; /* default NEVER_BLOCK */
  /*
   * Register with the ring, where there is one: its own descriptor; files, after a few ops each;
   * and the engine's arenas.  Saves the kernel about a tenth of the work of a small op.  Default
   * true. What the kernel refuses (RLIMIT_MEMLOCK counts arenas) goes unregistered.  A registered
   * file or arena that is closed by another thread than the queue's is let go by the kernel at the
   * queue's next call, or when it is closed.
   */
  bool registered;
  /* The rest is for io_uring only; other backends have nothing of the kind. */
  bool restricted; /* allow the ring the ops it needs and no others; default false */
  /* Poll the device instead of waiting for its interrupt.  For direct I/O on devices with queues
   * for polling (nvme.poll_queues); other ops run on workers.  No rf_queue_fd.  Default false. */
  bool iopoll;
  /* Let a thread of the kernel submit; asleep after so many ms without work.  0 (default): none. */
  unsigned sqpoll_idle_ms;
  /*
   * The watchdog: an op that was accepted longer ago than this and is not done is reported, once,
   * to the engine's log (a warning that names op, place and backend) and counted
   * (rf_counters.stalled); at the latest when it is twice as old.  Noticed by the queue's calls,
   * their waits included. 0 (default): no watchdog.  Costs a look at every op of the queue in so
   * much time.
   */
  uint64_t stall_ns;
  /* How long rf_queue_close waits for ops that cannot be stopped.  0: without a limit.  Default
   * thirty seconds. */
  uint64_t close_ns;
};
/* Sets every field to its default. */
void rf_queue_options_init(struct rf_queue_options *options);

/*
 * Opens a queue on the engine's backend; if that fails now, on the next (the log says so), unless
 * the backend was required.  options may be NULL.  The depth holds whatever the kernel grants:
 * where a limit makes a backend's context smaller, ops wait in the queue.
 * -EINVAL: an option out of range.  -ENOMEM.  -ENOTSUP: the required backend cannot be opened.
 */
int rf_queue_open(struct rf_engine *engine, const struct rf_queue_options *options,
                  struct rf_queue **queue);

/*
 * Closes it: what has not been started is dropped, what is in flight is stopped where it can be and
 * waited for otherwise, and completions not yet reaped are lost.  When it returns 0, no buffer is
 * in use any more.  An op that never ends (a device that hangs, a pipe that nobody writes to on the
 * threads backend, a limit that keeps the kernel from starting a worker) is waited for as long as
 * options.close_ns says.  A ring is then given up, which makes the kernel stop what it can; ten
 * seconds later at most it is -ETIMEDOUT: the queue is closed all the same, but some buffers are
 * still in the kernel's hands, or a worker's, and must stay what they are for as long as the
 * process lives.  So does the queue's own memory, which is not freed.  With ops in the queue only
 * the owner may close (-EPERM); an empty queue may be closed by any thread; then the kernel keeps
 * an io_uring that was opened with `registered`, and what is registered with it, until the thread
 * that owned the queue ends.  In a forked child it frees the child's copy.  NULL is fine.
 */
int rf_queue_close(struct rf_queue *queue);

/*
 * Accepts ops, in order, as many as there is room for: returns how many, and the caller keeps the
 * others.  Each accepted op gets exactly one completion, whatever is wrong with it.
 * -EAGAIN: the queue is full; reap first.  -EPERM: not the owner.  -EBADF: after fork.
 */
int rf_submit(struct rf_queue *queue, const struct rf_op *ops, unsigned count);

/* Hands what was collected to the kernel without waiting.  0 or -EPERM, -EBADF. */
int rf_flush(struct rf_queue *queue);

/*
 * Flushes, then waits until at least min completions are there (or all that are to come, if those
 * are fewer), or timeout_ns have passed (RF_FOREVER; 0 = do not wait), and fills in up to max of
 * them.  Returns how many, which after a time-out may be less than min, also 0.  Signals do not
 * end it.  -EINVAL: min > max or max is 0.  -EPERM, -EBADF as above.
 */
int rf_wait(struct rf_queue *queue, struct rf_completion *completions, unsigned min, unsigned max,
            int64_t timeout_ns);

/* rf_submit and rf_wait in one, with one system call where the backend can.  *accepted (may be
 * NULL) says how many ops were taken; 0 of them because of a full queue is no error here. */
int rf_submit_and_wait(struct rf_queue *queue, const struct rf_op *ops, unsigned count,
                       unsigned *accepted, struct rf_completion *completions, unsigned min,
                       unsigned max, int64_t timeout_ns);

/* Flushes, and fills in up to max completions that are there already.  Returns how many; there may
 * be more, unless it is 0. */
int rf_reap(struct rf_queue *queue, struct rf_completion *completions, unsigned max);

/* What rf_cancel() has to say. */
enum rf_cancelled {
  RF_CANCEL_STOPPED = 0,  /* it will not be done (any further); completes with -ECANCELED */
  RF_CANCEL_FINISHED = 1, /* too late: its completion is waiting, with its true result */
  RF_CANCEL_RUNNING = 2,  /* what the kernel has of it could not be stopped: it will complete with
                             its true result, or with -ECANCELED if there was more to come */
};

/*
 * Tries to stop the oldest op with this user_data.  Returns enum rf_cancelled; the completion comes
 * in any case, and has the bytes that were moved before.  I/O that a device works on can seldom be
 * stopped.  Looks at every op of the queue.
 * -ENOENT: no such op (completed and reaped, or never accepted).  -EPERM, -EBADF.
 */
int rf_cancel(struct rf_queue *queue, uint64_t user_data);

/*
 * A descriptor for poll, select and epoll: readable when rf_reap is worth calling (rarely also
 * when there is nothing after all).  Level-triggered: stays readable until rf_reap has handed
 * everything over.  Stays the queue's: do not read, write or close it.  To be asked for before the
 * first op is submitted, or while the queue is empty (-EBUSY otherwise).  -errno.
 */
int rf_queue_fd(struct rf_queue *queue);

/* The backend in use now, which is not the engine's choice after a failure. */
enum rf_backend_id rf_queue_backend(const struct rf_queue *queue);

/* Counts up to now.  Any thread.  0 or -errno. */
int rf_queue_counters(struct rf_queue *queue, struct rf_counters *counters);

/* Latency from acceptance to completion, if options.latency was set (else -ENODATA).  Any
 * thread; while the queue is at work the figures may be a few ops apart. */
int rf_queue_latency(struct rf_queue *queue, struct rf_latency *latency);

#ifdef __cplusplus
}
#endif
#endif
