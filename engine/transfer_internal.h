// SPDX-License-Identifier: Apache-2.0
/*
 * The inside of transfers: what the files transfer*.c share.
 *
 * A pool has workers, each a thread with a queue of its own.  A transfer is in at most one list of
 * the pool: `fresh` while its file has not been opened, `active` while it has ops to be taken by
 * any worker that has room, `chores` while it waits for a step that is a plain call (giving a new
 * file its name, closing).  Whoever finishes the last op of a stage moves it on:
 *
 *   FRESH -> OPENING -> ALLOCATE -> MOVE -> SYNC -> PUBLISH -> SYNC_DIRECTORY -> END -> DONE
 *                                   ^  |                                          ^
 *                          RETREAT -'<-+---- error, end of file, cancel, time-out -'
 *
 * Stages that a transfer does not need are left out.  RETREAT is for files that take O_DIRECT and
 * then answer EINVAL to direct requests: what is not done yet is planned anew, without them.  MOVE
 * goes through spans one after the other: a read has one; a direct write has its head (buffered),
 * the aligned middle (direct) and its tail (buffered).  The ends never share a page or a block of
 * the file system with the middle, and are never in flight along with it: a page read for them in
 * that moment could bring back old data.
 *
 * Blocks are taken in turns from all active transfers, so that a small one need not wait for a
 * large one, and queues stay full across transfers.  A worker that has no room left while there is
 * more to do wakes the next one; so a few small transfers stay on one worker.
 *
 * One lock guards the pool and all its transfers.  It is not held during system calls, copying,
 * progress functions or calls of the queue, but for the first allocation of bounce buffers.  Order:
 * the pool's lock, then the engine's.
 *
 * Files: transfer.c the public calls; transfer_pool.c opening, closing, counters, waking;
 * transfer_worker.c the loop of a worker; transfer_stage.c from stage to stage; transfer_split.c
 * spans and blocks; transfer_bounce.c bounce buffers; transfer_file.c descriptors, preallocation,
 * replacing.
 */
#ifndef RINGFALL_ENGINE_TRANSFER_INTERNAL_H
#define RINGFALL_ENGINE_TRANSFER_INTERNAL_H

#include "engine/internal.h"
#include "engine/new_file.h"
#include <ringfall/transfer.h>

enum rf_stage_of_transfer {
  RF_TRANSFER_FRESH = 0,
  RF_TRANSFER_OPENING,
  RF_TRANSFER_ALLOCATE,
  RF_TRANSFER_RETREAT,
  RF_TRANSFER_MOVE,
  RF_TRANSFER_SYNC,
  RF_TRANSFER_PUBLISH,
  RF_TRANSFER_SYNC_DIRECTORY,
  RF_TRANSFER_END,
  RF_TRANSFER_DONE,
};

/* A range of the file that is moved in one way.  Direct ones may be longer than what was asked for
 * (reads, to the next aligned offset); what is too much stays in the bounce buffers. */
struct rf_span {
  uint64_t start, end;                   /* offsets in the file */
  uint64_t straight_start, straight_end; /* of these: between file and the caller's memory */
  bool direct;
};
#define RF_SPANS 3u

/* The descriptors of a transfer. */
struct rf_target {
  struct rf_file *direct;       /* NULL: none */
  struct rf_file *buffered;     /* NULL: not needed */
  bool direct_lent;             /* the caller's own */
  bool buffered_lent;           /* likewise */
  struct rf_new_file *new_file; /* REPLACE: owns the descriptor of `buffered` */
  struct rf_file *directory;    /* for its fsync; NULL: none is asked for */
  uint64_t size;                /* of the file, when it was opened */
  bool regular;                 /* a regular file */
  bool extended;                /* was preallocated: from `size` to the end of the range */
  bool refused_direct;
};

struct rf_transfer {
  struct rf_pool *pool;
  struct rf_transfer_request request;
  char *path; /* a copy; behind the structure */
  bool write;
  uint64_t end;         /* request.offset + request.length */
  uint64_t started_ns;  /* CLOCK_MONOTONIC */
  uint64_t deadline_ns; /* likewise; UINT64_MAX: none */
  _Atomic bool done;    /* the last thing to be set: result is valid */
  struct rf_transfer_result result;

  /* Below: the pool's lock. */
  enum rf_stage_of_transfer stage;
  struct rf_transfer_list *list;     /* the one it is in; NULL: none */
  struct rf_transfer *next, *prev;   /* in that list */
  struct rf_transfer *older, *newer; /* among all that are not done */
  struct rf_target target;
  struct rf_span spans[RF_SPANS];
  unsigned span_count, span; /* how many; which one is being moved */
  uint64_t cursor;           /* the next block of it starts here */
  unsigned outstanding;      /* ops taken and not finished */
  bool busy;                 /* a worker is in a step of it, without the lock */
  bool reporting;            /* a worker is in the progress function */
  bool complete;             /* nothing is left to be done but END */
  int stopping;              /* -ECANCELED or -ETIMEDOUT: no more of it */
  int status;                /* the first error, by offset while in MOVE */
  uint64_t stop_at;          /* offset of the first byte that could not be moved */
  uint64_t moved;            /* bytes, for the progress function */
  uint64_t told;             /* of these: what it was called with last */
  uint64_t again;            /* of these: will be moved a second time, after a retreat */
  unsigned waiters;          /* threads in `finished` */
  pthread_cond_t finished;
};

struct rf_transfer_list {
  struct rf_transfer *head, *tail;
};

enum rf_part_kind {
  RF_PART_MOVE = 0,
  RF_PART_ALLOCATE,
  RF_PART_SYNC,
  RF_PART_SYNC_DIRECTORY,
};

/* One op of a transfer, from when it is taken until it is finished: a worker's own. */
struct rf_part {
  struct rf_transfer *transfer; /* NULL: free */
  uint64_t offset, length;      /* of the file */
  char *memory;                 /* what the op moves to or from */
  bool bounced;                 /* memory is a bounce buffer */
  bool direct;
  bool in_flight; /* handed to the queue, and not yet reaped */
  bool cut_short; /* of a write: the caller's memory ends at its end */
  uint8_t kind;   /* enum rf_part_kind */
  uint32_t next;  /* in the list of free ones */
  int status;     /* when reaped */
  uint64_t bytes;
};

enum rf_worker_state {
  RF_WORKER_AWAKE = 0, /* will look at the lists before it sleeps */
  RF_WORKER_AWAY,      /* in a call that may take long; will look afterwards */
  RF_WORKER_FULL,      /* asleep, and has no room for ops */
  RF_WORKER_PARTLY,    /* asleep, and has some */
  RF_WORKER_IDLE,      /* asleep, and has nothing in flight */
};

struct rf_worker {
  struct rf_pool *pool;
  struct rf_queue *queue;
  pthread_t thread;
  bool started; /* and queue_fd is set */
  int queue_fd; /* the queue's; negative: it has none, and there is no such worker */
  int wake_fd;  /* eventfd */

  /* The worker's own. */
  struct rf_part *parts;
  uint32_t part_count;
  uint32_t free;            /* list of parts; RF_NONE ends it */
  uint32_t *taken, *reaped; /* to be handed over; to be finished; in this order */
  unsigned taken_count, reaped_count;
  struct rf_completion *completions; /* room for part_count */
  unsigned in_flight;                /* taken and not reaped */
  uint64_t news_seen;                /* pool->news, when it last looked */
  uint64_t stops_seen;               /* pool->stops, when it last cancelled */
  bool opened_last;                  /* took a fresh transfer last, not a block */

  /* The pool's lock. */
  enum rf_worker_state state;
  bool signalled; /* wake_fd is readable */
};

struct rf_bounce {
  struct rf_arena *arena; /* NULL until needed */
  size_t chunk;           /* bytes of a buffer */
  unsigned count;         /* buffers */
  unsigned free_count;
  uint32_t *free; /* indices */
  bool wanted;    /* a worker went without one */
};

struct rf_pool {
  struct rf_engine *engine; /* until it is closed: not for the calls on tokens */
  _Atomic unsigned owners;  /* itself until it is closed, and its tokens: who keeps it allocated */
  uint32_t *alive;          /* its own, as the engine's: 0 in a forked child */
  struct rf_pool_options options;
  struct rf_worker *workers;
  unsigned worker_count;

  pthread_mutex_t lock; /* guards what follows */
  struct rf_transfer_list fresh, active, chores;
  struct rf_transfer *oldest, *newest; /* all that are not done */
  unsigned live;                       /* how many these are */
  unsigned open;                       /* transfers that have descriptors */
  unsigned callers;                    /* threads that wait for `any` */
  uint64_t news;                       /* changes when there is something new to do */
  uint64_t stops;                      /* changes when a transfer with ops in flight is stopped */
  uint64_t nearest_ns;                 /* no deadline is before this one */
  bool closing;
  pthread_cond_t any; /* a transfer is done, or a worker has started */
  struct rf_bounce bounce;
  struct rf_transfer_counters counters;
};

#define RF_CHUNK_MOST  ((size_t)512 << 10) /* of a bounce buffer */
#define RF_CHUNK_LEAST ((size_t)4 << 10)
#define RF_OPEN_MOST   64u /* transfers of a pool that have descriptors at the same time */

/* transfer_pool.c */
void rf_pool_disown(struct rf_pool *pool); /* one owner less */
/* There is something new to do: sees to it that somebody other than self (may be NULL) looks.  The
 * lock is held in all of these. */
void rf_pool_call(struct rf_pool *pool, const struct rf_worker *self);
/* Wakes all workers that sleep with ops in flight. */
void rf_pool_call_all(struct rf_pool *pool);
/* A deadline has come into being. */
void rf_pool_note_deadline(struct rf_pool *pool, uint64_t deadline_ns);
/* Stops what is past its deadline, and finds out which is next. */
void rf_pool_expire(struct rf_pool *pool);

/* transfer_stage.c; the lock is held in all of them */
void rf_transfer_push(struct rf_transfer_list *list, struct rf_transfer *transfer);
void rf_transfer_unlist(struct rf_transfer *transfer); /* out of the list that it is in, if any */
/* Puts it into the list where its stage waits for a worker. */
void rf_transfer_enlist(struct rf_transfer *transfer);
/* Has it ops to be taken? */
bool rf_transfer_is_takeable(const struct rf_transfer *transfer);
/* Nothing of it is in flight, and its stage is through: on to the next one. */
void rf_transfer_advance(struct rf_transfer *transfer);
/* No more of it; ends it at once if it had not begun. */
void rf_transfer_stop(struct rf_transfer *transfer, int status);
/* An error, or the end of the file, at this offset. */
void rf_transfer_fail(struct rf_transfer *transfer, uint64_t offset, int status);
/* Does the step that its stage is, without the lock in between. */
void rf_transfer_step(struct rf_worker *worker, struct rf_transfer *transfer);
/* It is over, and closed: tells those who wait.  It may be gone when this returns. */
void rf_transfer_finish(struct rf_transfer *transfer);

/* transfer_split.c */
/* What the direct part of a write begins and ends at multiples of. */
uint64_t rf_transfer_write_unit(const struct rf_file_info *info);
/* Makes the spans of a transfer whose target is open. */
void rf_transfer_plan(struct rf_transfer *transfer);
/* Makes them anew, from where it stopped, and without direct I/O.  Nothing of it is in flight. What
 * was done beyond that will be done again, and does not count any more. */
void rf_transfer_plan_retreat(struct rf_transfer *transfer);
/* Cuts the next block off: offset, length, memory (if not bounced), bounced, direct.  False, and
 * nothing changed, if it needs a bounce buffer and there is none; *status then is set if there will
 * be none.  The lock is held. */
bool rf_transfer_cut(struct rf_transfer *transfer, struct rf_part *part, int *status);
/* The bytes of a finished block that were asked for, of the first `bytes` of it. */
uint64_t rf_part_useful(const struct rf_part *part, uint64_t bytes);
/* Between the bounce buffer and the caller's memory, in the direction of the transfer: how many of
 * the first `bytes` of the block need nothing more.  Fewer than that: the caller's memory ends
 * there. */
uint64_t rf_part_copy(const struct rf_part *part, uint64_t bytes);

/* transfer_bounce.c; the lock is held */
void rf_bounce_plan(struct rf_pool *pool); /* before the pool is used: sizes */
int rf_bounce_open(struct rf_pool *pool);  /* allocates; does nothing if that was done */
void rf_bounce_close(struct rf_pool *pool);
char *rf_bounce_take(struct rf_pool *pool, int *status); /* NULL: none is free, or *status != 0 */
void rf_bounce_give(struct rf_pool *pool, const char *buffer);

/* transfer_file.c; without the lock */
int rf_target_open(struct rf_transfer *transfer);
/* Direct I/O is refused: sees to it that there is a descriptor without. */
int rf_target_retreat(struct rf_transfer *transfer);
/* Is there room to be allocated? */
bool rf_target_wants_room(const struct rf_transfer *transfer);
/* Where that cannot be done: makes the file as long as it will be. */
int rf_target_set_size(struct rf_transfer *transfer);
int rf_target_publish(struct rf_transfer *transfer);
/* Closes what was opened; of a failed write, cuts off what was allocated and not written. */
void rf_target_close(struct rf_transfer *transfer, uint64_t written_to);

/* transfer_worker.c */
void *rf_worker_run(void *worker);

#endif
