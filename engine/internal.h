// SPDX-License-Identifier: Apache-2.0
/*
 * The core's own structures.
 *
 * An op lives in a slot of its queue from acceptance to reaping.  Slots are addressed by index; a
 * slot is in exactly one place at a time, named by its state:
 *
 *   FREE ----accept---> PENDING --flush--> IN_FLIGHT --answer--> DONE --reap--> FREE
 *                        ^  ^                  |
 *   HELD (linked) -------'  '--- DELAYED <-----'  (retry after a pause; a continuation or a
 *                                                  fallback goes straight back to PENDING)
 *
 * A lane is a backend as one queue uses it.  Each queue has the lane of its backend (the main
 * lane) and the threads lane, for ops that the first cannot run; they are the same lane where
 * threads is the backend in use.  A main lane that died stays as the retired one until everything
 * it had is answered.  The calls lane is libaio beside io_uring, see below.
 *
 * Files: engine.c the choice; queue.c the public calls; accept.c from op to slot and links;
 * route.c which way suits a transfer; registry.c files and arenas that are registered with rings;
 * lane.c handing over, waiting, the death of a backend; answer.c what an answer means (continue,
 * retry, fall back, finish); timer.c the heap of deadlines and pauses; due.c what they lead to;
 * watchdog.c ops that take too long.
 * transfer*.c: pools of workers, above all this and by its public calls; see transfer_internal.h.
 */
#ifndef RINGFALL_ENGINE_INTERNAL_H
#define RINGFALL_ENGINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/backend.h"
#include "engine/substitute.h"
#include "engine/trace.h"
#include <ringfall/ringfall.h>

#define RF_NONE UINT32_MAX /* no slot */

/* Lengths above this take several requests.  The kernel moves at most MAX_RW_COUNT (2 GiB less a
 * page) in one call; 1 GiB is below that and a multiple of any alignment. */
#define RF_CALL_MAX (UINT64_C(1) << 30)
#define RF_IOV_MAX  1024u /* UIO_MAXIOV */

/* Pauses of 0.1, 0.2, ... 12.8, 25.6, 51.2 ms: about a tenth of a second in all. */
#define RF_RETRIES  10u
#define RF_PAUSE_NS UINT64_C(100000)

enum rf_slot_state {
  RF_SLOT_FREE = 0,
  RF_SLOT_HELD,
  RF_SLOT_PENDING,
  RF_SLOT_DELAYED,
  RF_SLOT_IN_FLIGHT,
  RF_SLOT_DONE,
};

enum rf_slot_flags {
  RF_SLOT_ON_THREADS = 1u << 0, /* this op goes to the threads lane */
  RF_SLOT_CANCELLED = 1u << 1,  /* rf_cancel asked for its end */
  RF_SLOT_EXPIRED = 1u << 2,    /* its deadline did */
  RF_SLOT_ON_CALLS = 1u << 3,   /* this op goes to the calls lane */
  RF_SLOT_STALLED = 1u << 4,    /* the watchdog has reported it */
};

/*
 * The first two cache lines are all that an ordinary op touches, from acceptance to reaping; what
 * follows them is written and read only by what needs it.
 *
 * The request is that in flight, or the next one: its buffer and offset move on with `done`, so
 * that request.offset - done is where the op began.
 */
struct rf_slot {
  uint64_t user_data;
  uint64_t total;                 /* bytes that the op is to move */
  uint64_t done;                  /* bytes moved so far */
  uint64_t serial;                /* order of acceptance */
  _Atomic(struct rf_file *) file; /* NULL once the op is done: rf_file_close looks at it */
  uint32_t next;                  /* in the list that the state names */
  uint32_t link_next;             /* the op that waits for this one */
  uint32_t timer_at;              /* place in the heap; RF_NONE = in none */
  int32_t status;
  uint8_t kind;     /* enum rf_op_kind */
  uint8_t op_flags; /* enum rf_op_flags */
  uint8_t state;    /* enum rf_slot_state */
  uint8_t flags;    /* enum rf_slot_flags */
  uint8_t retries;
  uint8_t lane; /* index of the lane it is or was in flight on */

  struct rf_request request;

  uint32_t link_prev;      /* the op that this one waits for, while HELD */
  uint64_t accepted_ns;    /* for the latency, where that is kept */
  uint64_t timer_ns;       /* when to look at it again: end of a pause, or its deadline */
  uint64_t expires_ns;     /* its deadline on CLOCK_MONOTONIC; 0 = none, or passed, or free */
  const struct iovec *iov; /* READV, WRITEV: all of them, and how many */
  uint64_t iov_count;
  uint64_t vector_bytes; /* that a request of kind READV or WRITEV is to move */
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct rf_slot) <= 256, "a slot keeps within its budget");
_Static_assert(offsetof(struct rf_slot, request) == 64, "one line for the op, one for its request");
_Static_assert(offsetof(struct rf_slot, request.own) <= 128, "what backends keep comes after");

static inline struct rf_slot *rf_slot_of(struct rf_request *request) {
  return (struct rf_slot *)(void *)((char *)request - offsetof(struct rf_slot, request));
}

/* Of an op that is not done. */
static inline struct rf_file *rf_slot_file(const struct rf_slot *slot) {
  return atomic_load_explicit(&slot->file, memory_order_relaxed);
}

static inline bool rf_slot_reads(const struct rf_slot *slot) {
  return slot->kind == RF_OP_READ || slot->kind == RF_OP_READV;
}

static inline bool rf_slot_writes(const struct rf_slot *slot) {
  return slot->kind == RF_OP_WRITE || slot->kind == RF_OP_WRITEV;
}

struct rf_list {
  uint32_t head, tail;
  uint32_t count;
};

struct rf_lane {
  struct rf_backend *backend; /* NULL: none */
  enum rf_backend_id id;
  struct rf_list pending;
  uint32_t in_flight;
  uint32_t refusals;      /* hand-overs in a row that were answered 'not now' */
  uint64_t not_before_ns; /* no hand-over before this; 0 = at once */
  bool dead;              /* takes no requests any more */
  bool deaf;              /* cannot wait any more */
  bool watchable;         /* its descriptor was made, for others to watch */
};

/* RETIRED: a main lane that died while the kernel had requests of it, until they are answered. */
enum {
  RF_LANE_MAIN = 0,
  RF_LANE_THREADS = 1,
  RF_LANE_RETIRED = 2,
  /* libaio beside io_uring, where this thread may block: what it would do in its submit() anyway, a
   * whole batch in one system call.  Its answers are there at once. */
  RF_LANE_CALLS = 3,
  RF_LANES = 4,
};

/* Counters are written by the owner only and read by anyone: plain stores, in order. */
struct rf_tally {
  _Atomic uint64_t values[offsetof(struct rf_counters, fell_back) / sizeof(uint64_t)];
  _Atomic uint64_t fell_back[RF_OP_KINDS][RF_FALLBACK_REASONS];
};
#define RF_COUNT(queue, field, amount)                                                             \
  rf_tally_add(&(queue)->tally.values[offsetof(struct rf_counters, field) / sizeof(uint64_t)],     \
               (amount))

struct rf_atomic_latency {
  _Atomic uint64_t total_ns, max_ns;
  _Atomic uint64_t bucket[RF_LATENCY_BUCKETS];
};

/* Places for what is registered with rings: the engine's, and every queue's alike. */
#define RF_FILE_PLACES 256u
#define RF_PIECES      16u

/* A piece of an arena. */
struct rf_piece {
  const struct rf_arena *arena; /* to know its pieces by; two may be of the same memory */
  char *base;
  size_t size;
  uint64_t serial; /* 0: the place is free */
};

struct rf_registered {
  uint64_t seen; /* engine->changes, when it was last looked at */
  unsigned piece_count;
  struct rf_piece pieces[RF_PIECES];
  uint64_t files[RF_FILE_PLACES]; /* serials; 0: nothing is registered there */
  uint8_t uses[RF_FILE_PLACES];   /* ops so far, up to those that lead to registration */
};

/* What a file is to routing, in one direction. */
enum rf_file_class {
  RF_FILE_OTHER = 0, /* not routed */
  RF_FILE_DIRECT,    /* direct I/O, RWF_NOWAIT is taken */
  RF_FILE_NOWAIT,    /* buffered, RWF_NOWAIT is taken */
  RF_FILE_WAITS,     /* buffered, and it is not */
  RF_FILE_UNKNOWN,   /* the first answer will tell */
  RF_FILE_CLASSES,
};

struct rf_queue {
  struct rf_engine *engine;
  struct rf_queue *next_open, *prev_open; /* engine's list; engine->lock */

  _Atomic uintptr_t owner; /* rf_thread_self() of it; 0 = nobody yet */
  bool pollable;           /* rf_queue_fd was called */
  bool ready_signalled;    /* ready_fd is readable */
  bool fsize_limited;      /* RLIMIT_FSIZE was finite when the queue was opened */
  uint8_t died;            /* bits of the backends that died in this queue */
  bool streams;            /* an op on a file that cannot seek is, or was just now, in the queue */
  bool registers;          /* the main lane's backend has places for files or memory */
  uint32_t straight;       /* request kinds that the main lane takes, unless they have flags */
  uint8_t ways[2][RF_FILE_CLASSES]; /* reads, writes: how route.c sends them; 0: to the main lane */
  bool has_last;                    /* an op was accepted before */
  int32_t last_status;              /* of the op accepted last, once it is done (last == RF_NONE) */
  uint32_t last;                    /* the op accepted last, until it is done */
  struct rf_backend_config config;
  enum rf_policy policy;
  unsigned depth, batch;
  uint64_t fsize_limit;

  struct rf_lane lanes[RF_LANES];
  struct rf_slot *slots;
  struct rf_list done;
  uint32_t free, free_count; /* a stack: the slot used last is the one in the cache */
  uint32_t outstanding;      /* accepted and not done: held, pending, delayed, in flight */
  uint32_t *timers;          /* binary heap of slots, by timer_ns */
  uint32_t timer_count;
  uint64_t serial;
  uint64_t now_ns;      /* the clock, read once for a whole batch of answers; 0 = not read */
  uint64_t alike_ns;    /* ops accepted then were answered at now_ns: */
  uint64_t alike;       /* so many, not in the histogram yet; 0 unless now_ns is set */
  int ready_fd;         /* eventfd: completions wait in `done` */
  int timer_fd;         /* timerfd: a timer is due */
  int epoll_fd;         /* over these two and the lanes; -1, like them, until rf_queue_fd */
  uint64_t timer_fd_ns; /* what timer_fd is set to; UINT64_MAX = off */

  uint64_t stall_ns, close_ns; /* of the options */
  uint64_t look_ns;            /* when the watchdog looks next; UINT64_MAX: never */
  uint64_t look_serial;        /* the op accepted last, when it looked last */

  struct rf_tally tally;
  struct rf_atomic_latency *latency; /* NULL: not kept */
  struct rf_registered registered;
};

struct rf_file {
  struct rf_engine *engine;
  int fd;
  bool own;
  bool append;            /* O_APPEND: where a write goes is not up to its offset */
  uint8_t reads;          /* enum rf_file_class */
  _Atomic uint8_t writes; /* likewise; UNKNOWN becomes another one */
  uint32_t place;         /* where it can be registered; RF_NONE: nowhere */
  uint64_t serial;        /* its own, among all files and arenas of the engine */
  struct rf_file_info info;
};

struct rf_engine {
  const struct rf_backend_ops *const *backends; /* RF_BACKENDS tables */
  void *context;                                /* for their open(): see substitute.h */
  struct rf_host host;
  bool required; /* host.selected or nothing */
  bool routed;   /* the choice was left to us: each op may go the way that suits it */
  rf_log_function *log;
  void *log_context;
  enum rf_log_level most; /* where the log is stderr: the least important that it shows */
  char explanation[512];
  uint32_t *alive; /* a page that fork() wipes: 1 here, 0 in a child */

  _Atomic uint64_t changes; /* of file_places and pieces, but for files that were added */

  pthread_mutex_t lock; /* guards what follows */
  struct rf_queue *queues;
  unsigned files, arenas;
  uint64_t serial;                      /* the last one given away */
  uint64_t file_places[RF_FILE_PLACES]; /* serials; 0: free */
  struct rf_piece pieces[RF_PIECES];
  struct rf_counters closed; /* of queues that are closed */
};

/* engine.c */
void rf_log(const struct rf_engine *engine, enum rf_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* alive.c */
/* A word that a forked child finds 0.  NULL: no memory. */
uint32_t *rf_alive_open(void);
void rf_alive_close(uint32_t *alive); /* NULL is fine */

/* False in a forked child. */
static inline bool rf_is_alive(const uint32_t *alive) {
  return *(volatile const uint32_t *)alive != 0;
}
static inline bool rf_engine_alive(const struct rf_engine *engine) {
  return rf_is_alive(engine->alive);
}

/* status.c */
/* What was to be done, for people: "write of 4096 bytes at offset 0 of /data/log".  As snprintf. */
struct rf_deed {
  unsigned kind;    /* enum rf_op_kind */
  const char *path; /* of the file, if it is known; else: */
  const struct rf_file *file;
  int fd;           /* where there is neither; -1: there is no file */
  const char *unit; /* of length: "byte", "buffer" */
  uint64_t length;
  uint64_t offset;
};
int rf_deed_text(const struct rf_deed *deed, char *text, size_t size);

/* file.c */
/* A file of which all is known already: as rf_file_from_fd(), without looking at it.  Directories
 * are taken, to be synced.  It is not registered with rings: a transfer's blocks are too large to
 * gain by that, and small transfers, each with a file of its own, would lose. */
int rf_file_make(struct rf_engine *engine, int fd, bool own, bool append,
                 const struct rf_file_info *info, struct rf_file **file);

/* queue.c */
bool rf_queue_uses_file(struct rf_queue *queue, const struct rf_file *file);

/* Lists of slots: first in, first out, linked by index. */
static inline void rf_list_push(struct rf_queue *queue, struct rf_list *list, uint32_t index) {
  queue->slots[index].next = RF_NONE;
  if (list->count++ == 0)
    list->head = index;
  else
    queue->slots[list->tail].next = index;
  list->tail = index;
}

/* Slots that are linked already, from head to tail. */
static inline void rf_list_join(struct rf_queue *queue, struct rf_list *list, uint32_t head,
                                uint32_t tail, uint32_t count) {
  queue->slots[tail].next = RF_NONE;
  if (list->count == 0)
    list->head = head;
  else
    queue->slots[list->tail].next = head;
  list->tail = tail;
  list->count += count;
}

static inline uint32_t rf_list_pop(struct rf_queue *queue, struct rf_list *list) {
  uint32_t index = list->head;
  list->head = queue->slots[index].next;
  list->count--;
  return index;
}

/* list.c; looks through the list */
void rf_list_remove(struct rf_queue *queue, struct rf_list *list, uint32_t index);

static inline uint32_t rf_slot_index(const struct rf_queue *queue, const struct rf_slot *slot) {
  return (uint32_t)(slot - queue->slots);
}

/* accept.c */
/* Takes as many ops as there are slots for: how many. */
unsigned rf_accept(struct rf_queue *queue, const struct rf_op *ops, unsigned count);

/* counters.c */
/* The largest latency that falls into a bucket. */
uint64_t rf_latency_bucket_end(unsigned bucket);
/* From acceptance to now, where latency is kept. */
void rf_latency_count(struct rf_queue *queue, uint64_t accepted_ns, uint64_t count);
static inline void rf_latency_record(struct rf_queue *queue, uint64_t accepted_ns) {
  if (queue->now_ns != 0 && accepted_ns == queue->alike_ns) {
    queue->alike++;
    return;
  }
  if (queue->alike > 0) rf_latency_count(queue, queue->alike_ns, queue->alike);
  queue->alike = queue->now_ns != 0;
  queue->alike_ns = accepted_ns;
  if (queue->now_ns == 0) rf_latency_count(queue, accepted_ns, 1);
}

/* The clock is read once for what happens between these two; 0 if nobody wants to know. */
static inline void rf_clock_start(struct rf_queue *queue) {
  queue->now_ns = queue->latency != NULL ? rf_now_ns() : 0;
}
static inline void rf_clock_stop(struct rf_queue *queue) {
  if (queue->alike > 0) rf_latency_count(queue, queue->alike_ns, queue->alike);
  queue->alike = 0;
  queue->now_ns = 0;
}

/* answer.c */
void rf_finish(struct rf_queue *queue, struct rf_slot *slot, int status);
void rf_fall_back(struct rf_queue *queue, struct rf_slot *slot, enum rf_fallback_reason reason);
bool rf_is_not_now(int status); /* EINTR, EAGAIN, EBUSY, ENOMEM */

/* What one call is to move of what is left. */
static inline uint64_t rf_call_bytes(uint64_t left) {
  return left < RF_CALL_MAX ? left : RF_CALL_MAX;
}

/* Puts an op that is nowhere at the end of the list of its lane, its next request prepared. */
void rf_pend(struct rf_queue *queue, struct rf_slot *slot);
static inline unsigned rf_lane_for(const struct rf_slot *slot) {
  if (slot->flags & RF_SLOT_ON_THREADS) return RF_LANE_THREADS;
  return slot->flags & RF_SLOT_ON_CALLS ? RF_LANE_CALLS : RF_LANE_MAIN;
}
static inline void rf_pend_on(struct rf_queue *queue, struct rf_slot *slot, unsigned lane) {
  slot->state = RF_SLOT_PENDING;
  slot->lane = (uint8_t)lane;
  rf_list_push(queue, &queue->lanes[lane].pending, rf_slot_index(queue, slot));
}

/* The op, which has no timer and is in no list, waits to be reaped. */
static inline void rf_slot_done(struct rf_queue *queue, struct rf_slot *slot, int status) {
  uint32_t index = rf_slot_index(queue, slot);
  slot->state = RF_SLOT_DONE;
  slot->status = status;
  queue->outstanding--;
  atomic_store_explicit(&slot->file, NULL, memory_order_release);
  if (queue->last == index) {
    queue->last = RF_NONE;
    queue->last_status = status;
  }
  if (queue->latency != NULL) rf_latency_record(queue, slot->accepted_ns);
  rf_list_push(queue, &queue->done, index);
  RF_TRACE_5(complete, queue, slot->user_data, (int)slot->kind, status, slot->done);
}

/* What an answer that is not simply all there means. */
void rf_answer_other(struct rf_queue *queue, struct rf_slot *slot, int64_t res);
static inline void rf_answer(struct rf_queue *queue, struct rf_slot *slot, int64_t res) {
  bool all = res >= 0 && slot->done + (uint64_t)res == slot->total;
  bool alone = slot->link_next == RF_NONE && slot->timer_at == RF_NONE;
  if (!all || !alone || slot->request.flags & RF_REQUEST_HERE) {
    rf_answer_other(queue, slot, res);
    return;
  }
  slot->done = slot->total;
  rf_slot_done(queue, slot, 0);
}

/* Takes an op that is not in flight and not done out of where it is. */
void rf_withdraw(struct rf_queue *queue, struct rf_slot *slot);

/* lane.c */
int rf_lanes_open(struct rf_queue *queue);
void rf_lanes_close(struct rf_queue *queue);
/* Hands over what is pending and waits for `wait` answers (until_ns: CLOCK_MONOTONIC, 0 = do not
 * wait, UINT64_MAX = no limit), then takes in what is there. */
void rf_lanes_turn(struct rf_queue *queue, unsigned wait, uint64_t until_ns);
enum rf_cancelled rf_lane_cancel(struct rf_queue *queue, struct rf_slot *slot);

/* Whether the main lane's backend has what this request needs. */
static inline bool rf_main_offers(const struct rf_queue *queue, const struct rf_request *request) {
  const struct rf_backend *main = queue->lanes[RF_LANE_MAIN].backend;
  return main->kinds & 1u << request->kind && !(request->flags & ~main->flags);
}

/* When something is to be done without an answer having come; UINT64_MAX: never. */
uint64_t rf_lanes_next(const struct rf_queue *queue);
/* Whatever a ring still has when a queue is closed: makes the kernel end it.  False: there is none.
 */
bool rf_lanes_give_up(struct rf_queue *queue);
/* Something is pending that a turn could hand over now. */
bool rf_lanes_stalled(const struct rf_queue *queue);

/* route.c */
void rf_route_classify(struct rf_file *file);
/* Sets queue->ways, for the backend of the main lane. */
void rf_route_set_ways(struct rf_queue *queue);
/* Which lane and how, for a transfer without flags of its own: a way other than to the backend. */
void rf_route_go(struct rf_queue *queue, struct rf_slot *slot, unsigned way);
static inline unsigned rf_route_way(const struct rf_queue *queue, const struct rf_file *file,
                                    bool write) {
  unsigned class = write ? atomic_load_explicit(&file->writes, memory_order_relaxed) : file->reads;
  return queue->ways[write][class];
}
static inline void rf_route(struct rf_queue *queue, struct rf_slot *slot,
                            const struct rf_file *file, bool write) {
  unsigned way = rf_route_way(queue, file, write);
  if (way != 0) rf_route_go(queue, slot, way);
}
/* An answer came for a request with HERE. */
void rf_route_succeeded(struct rf_slot *slot);
/* True if the error came of the way that was taken, and the op is now pending for another. */
bool rf_route_refused(struct rf_queue *queue, struct rf_slot *slot, int status);

/* registry.c */
void rf_registry_add_file(struct rf_engine *engine, struct rf_file *file);
void rf_registry_remove_file(struct rf_engine *engine, const struct rf_file *file);
void rf_registry_add_memory(struct rf_engine *engine, const struct rf_arena *arena);
void rf_registry_remove_memory(struct rf_engine *engine, const struct rf_arena *arena);
void rf_registry_sync(struct rf_queue *queue);
/* To be called where something has changed, before ops are accepted. */
static inline bool rf_registry_changed(const struct rf_queue *queue) {
  return atomic_load_explicit(&queue->engine->changes, memory_order_acquire) !=
         queue->registered.seen;
}
/* For a request that goes to the main lane. */
bool rf_registry_try_file(struct rf_queue *queue, const struct rf_file *file);
static inline void rf_registry_use_file(struct rf_queue *queue, struct rf_request *request,
                                        const struct rf_file *file) {
  if (file->place == RF_NONE) return;
  if (queue->registered.files[file->place] != file->serial && !rf_registry_try_file(queue, file))
    return;
  request->flags |= RF_REQUEST_FIXED_FILE;
  request->file_slot = (uint16_t)file->place;
}
static inline void rf_registry_use_memory(struct rf_queue *queue, struct rf_request *request,
                                          const char *buf, uint64_t len) {
  for (unsigned i = 0; i < queue->registered.piece_count; i++) {
    const struct rf_piece *piece = &queue->registered.pieces[i];
    if (buf < piece->base || len > piece->size || (size_t)(buf - piece->base) > piece->size - len)
      continue;
    request->flags |= RF_REQUEST_FIXED_MEMORY;
    request->memory_slot = (uint16_t)i;
    return;
  }
}

/* timer.c */
void rf_timer_set(struct rf_queue *queue, struct rf_slot *slot, uint64_t when_ns);
void rf_timer_drop(struct rf_queue *queue, struct rf_slot *slot); /* which has one */

static inline void rf_timer_clear(struct rf_queue *queue, struct rf_slot *slot) {
  if (slot->timer_at != RF_NONE) rf_timer_drop(queue, slot);
}
static inline uint64_t rf_timer_next(const struct rf_queue *queue) { /* UINT64_MAX: none */
  return queue->timer_count > 0 ? queue->slots[queue->timers[0]].timer_ns : UINT64_MAX;
}

/* watchdog.c */
void rf_watchdog_look(struct rf_queue *queue, uint64_t now_ns);

/* due.c */
void rf_timers_run(struct rf_queue *queue);

/* counters.c */
static inline void rf_tally_add(_Atomic uint64_t *counter, uint64_t amount) {
  uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);
  atomic_store_explicit(counter, before + amount, memory_order_release); /* see rf_tally_read() */
}
static inline void rf_tally_set(_Atomic uint64_t *counter, uint64_t value) {
  atomic_store_explicit(counter, value, memory_order_relaxed);
}
#define RF_SET(queue, field, value)                                                                \
  rf_tally_set(&(queue)->tally.values[offsetof(struct rf_counters, field) / sizeof(uint64_t)],     \
               (value))
void rf_tally_read(const struct rf_queue *queue, struct rf_counters *counters);
void rf_counters_add(struct rf_counters *sum, const struct rf_counters *counters);

#endif
