// SPDX-License-Identifier: Apache-2.0
/*
 * ringfall as an engine of fio, on the public headers only:
 *
 *     fio --ioengine=external:/path/ringfall_fio.so --backend=libaio ...
 *
 * Each job has an engine, a queue and, for its buffers, an arena, made after fio has forked the job
 * or started its thread.  fio's queue() only writes an op into an array; commit() hands the array
 * over, unless fio's whole depth is in it and in the queue: then fio can do nothing but wait, and
 * getevents() hands over and waits in one call.
 *
 * It is compiled against the headers of one release of fio and refuses to run in another: fio
 * itself compares only the version of its engine interface, which outlives changes of the
 * structures behind it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <ringfall/ringfall.h>

#include "fio.h"
#include "optgroup.h"
#include "ringfall_fio_version.h"

#if FIO_IOOPS_VERSION < 31
#error "fio 3.33 or later is needed"
#endif

/* ---- options --------------------------------------------------------------------------------- */

struct options {
  struct thread_data *td; /* fio's; also keeps the others off offset 0, which fio takes for unset */
  unsigned backend;       /* 0: auto; else enum rf_backend_id + 1 */
  unsigned policy;        /* enum rf_policy */
  unsigned fixedbufs, registered, restricted, hipri, nonvectored, nowait, explain;
  unsigned sqpoll_idle, workers;
};

#define OPTION(option, kind, what)                                                                 \
  .name = #option, .lname = "ringfall: " #option, .type = (kind),                                  \
  .off1 = offsetof(struct options, option), .help = (what), .category = FIO_OPT_C_ENGINE,          \
  .group = FIO_OPT_G_INVALID

/* A switch that is on by default: fio warns of those unless told that it is meant. */
#define SWITCH_ON(option, what) OPTION(option, FIO_OPT_STR_SET, what), .def = "1", .no_warn_def = 1
#define SWITCH(option, what)    OPTION(option, FIO_OPT_STR_SET, what), .def = NULL

static struct fio_option option_table[] = {
    {OPTION(backend, FIO_OPT_STR, "Which backend does the I/O; a named one is required"),
     .def = "auto",
     .posval =
         {
             {.ival = "auto", .oval = 0, .help = "The best that works here"},
             {.ival = "io_uring", .oval = RF_BACKEND_IO_URING + 1, .help = "io_uring"},
             {.ival = "libaio", .oval = RF_BACKEND_LIBAIO + 1, .help = "Linux AIO"},
             {.ival = "threads", .oval = RF_BACKEND_THREADS + 1, .help = "A pool of threads"},
         }},
    {OPTION(policy, FIO_OPT_STR, "May fio's thread wait for a device (with backend=auto)"),
     .def = "never_block",
     .posval =
         {
             {.ival = "never_block", .oval = RF_POLICY_NEVER_BLOCK, .help = "No"},
             {.ival = "may_block", .oval = RF_POLICY_MAY_BLOCK, .help = "Where that is cheaper"},
         }},
    {SWITCH_ON(fixedbufs, "Take the I/O buffers from an arena, which can be registered")},
    {SWITCH_ON(registered, "Register files, the arena and the ring's descriptor"),
     .alias = "registerfiles"},
    {SWITCH(restricted, "Allow the ring the operations it needs and no others")},
    {SWITCH(hipri, "Poll the device for completions (io_uring, O_DIRECT)"), .alias = "iopoll"},
    {OPTION(sqpoll_idle, FIO_OPT_INT, "Let a kernel thread submit, asleep after so many ms"),
     .def = "0"},
    {OPTION(workers, FIO_OPT_INT, "Threads a job may start, where it needs any"), .def = "16",
     .minval = 1, .maxval = 1024},
    {SWITCH_ON(nonvectored, "Plain reads and writes instead of vectors of one")},
    {SWITCH(nowait, "Fail with EAGAIN instead of waiting (RWF_NOWAIT)")},
    {SWITCH(explain, "Print which backend was chosen and why, and what it did")},
    {.name = NULL},
};

/* ---- one job --------------------------------------------------------------------------------- */

struct open_file {
  struct rf_file *file;
  struct open_file *next, **link; /* the job's list of them; link is what points here */
};

struct job {
  struct rf_engine *engine;
  struct rf_queue *queue;
  struct rf_arena *arena;
  struct open_file *files;
  struct rf_op *ops;          /* depth of them: queued by fio, not yet in the queue */
  struct iovec *vectors;      /* depth of them, by io_u->index; for nonvectored=0 */
  struct rf_completion *done; /* depth of them: what the last getevents() found */
  unsigned depth;             /* io_us that fio has */
  unsigned collected;         /* in ops */
  unsigned committed;         /* the first so many of these, which fio takes for submitted */
  unsigned held;              /* in ops and in the queue */
  unsigned trims;             /* of these */
  uint8_t flags;              /* RF_OP_... of each transfer */
  bool plain, polling;        /* options: nonvectored; iodepth_batch_complete_min=0 */
};

static int failed(struct thread_data *td, int status, const char *what) {
  td_verror(td, -status, what);
  return 1;
}

static void log_line(void *context, enum rf_log_level level, const char *message) {
  (void)context;
  if (level <= RF_LOG_WARNING) log_err("ringfall: %s\n", message);
}

/* Releases between two tags call themselves TAG-N-gCOMMIT. */
static bool built_for_this_fio(void) {
  size_t len = strlen(RINGFALL_FIO_VERSION);
  if (strncmp(fio_version_string, RINGFALL_FIO_VERSION, len) == 0 &&
      (fio_version_string[len] == '\0' || fio_version_string[len] == '-'))
    return true;
  log_err("ringfall: this engine was built for %s, and this is %s: build it for that\n",
          RINGFALL_FIO_VERSION, fio_version_string);
  return false;
}

static int open_engine(struct thread_data *td, struct job *job) {
  const struct options *o = td->eo;
  struct rf_engine_options options;
  rf_engine_options_init(&options);
  options.depth = job->depth;
  options.log = log_line;
  if (o->backend != 0) {
    options.choice = RF_CHOICE_REQUIRE;
    options.backend = (enum rf_backend_id)(o->backend - 1);
    options.ignore_environment = true;
  }
  return rf_engine_open(&job->engine, &options);
}

static bool depth_is_possible(unsigned depth) {
  if (depth <= RF_DEPTH_MAX) return true;
  log_err("ringfall: iodepth %u: a queue has %u ops at most\n", depth, RF_DEPTH_MAX);
  return false;
}

static int make_job(struct thread_data *td) {
  const struct options *o = td->eo;
  struct job *job = calloc(1, sizeof(*job));
  if (job == NULL) return -ENOMEM;
  td->io_ops_data = job;
  job->depth = td->o.iodepth;
  job->ops = calloc(job->depth, sizeof(*job->ops));
  job->vectors = calloc(job->depth, sizeof(*job->vectors));
  job->done = calloc(job->depth, sizeof(*job->done));
  if (job->ops == NULL || job->vectors == NULL || job->done == NULL) return -ENOMEM;
  job->flags = o->nowait ? RF_OP_NOWAIT : 0;
  job->plain = o->nonvectored;
  job->polling = td->o.iodepth_batch_complete_min == 0;
  return open_engine(td, job);
}

static int ringfall_init(struct thread_data *td) {
  const struct options *o = td->eo;
  if (!built_for_this_fio()) return failed(td, -ELIBBAD, "ringfall");
  if (!depth_is_possible(td->o.iodepth)) return failed(td, -EINVAL, "iodepth");
  int status = make_job(td);
  if (status != 0) return failed(td, status, "rf_engine_open");
  struct job *job = td->io_ops_data;
  if (o->explain) log_info("ringfall: %s\n", rf_engine_explanation(job->engine));
  return 0;
}

/* After fio has allocated its buffers, so that the arena is registered at once. */
static int ringfall_post_init(struct thread_data *td) {
  const struct options *o = td->eo;
  struct job *job = td->io_ops_data;
  struct rf_queue_options options;
  rf_queue_options_init(&options);
  options.depth = options.batch = job->depth; /* batches are fio's business */
  options.workers = o->workers;
  options.policy = (enum rf_policy)o->policy;
  options.registered = o->registered;
  options.restricted = o->restricted;
  options.iopoll = o->hipri;
  options.sqpoll_idle_ms = o->sqpoll_idle;
  int status = rf_queue_open(job->engine, &options, &job->queue);
  return status == 0 ? 0 : failed(td, status, "rf_queue_open");
}

static void explain_counters(struct job *job) {
  struct rf_counters counters;
  uint64_t fell_back = 0;
  if (rf_engine_counters(job->engine, &counters) != 0) return;
  for (int kind = 0; kind < RF_OP_KINDS; kind++)
    for (int reason = 0; reason < RF_FALLBACK_REASONS; reason++)
      fell_back += counters.fell_back[kind][reason];
  log_info("ringfall: %llu ops, %llu failed, %llu continued, %llu retried, %llu not by the "
           "backend; %llu system calls\n",
           (unsigned long long)counters.completed, (unsigned long long)counters.failed,
           (unsigned long long)counters.continued, (unsigned long long)counters.retried,
           (unsigned long long)fell_back, (unsigned long long)counters.system_calls);
}

static int detach(struct open_file *open) {
  int status = rf_file_close(open->file);
  if (status != 0) return status;
  *open->link = open->next;
  if (open->next != NULL) open->next->link = open->link;
  free(open);
  return 0;
}

/* Also of a job that failed half way in init. */
static void ringfall_cleanup(struct thread_data *td) {
  const struct options *o = td->eo;
  struct job *job = td->io_ops_data;
  if (job == NULL) return;
  (void)rf_queue_close(job->queue);
  while (job->files != NULL && detach(job->files) == 0) continue;
  if (o->explain && job->engine != NULL) explain_counters(job);
  (void)rf_engine_close(job->engine);
  free(job->ops);
  free(job->vectors);
  free(job->done);
  free(job);
  td->io_ops_data = NULL;
}

/* ---- buffers --------------------------------------------------------------------------------- */

static int ringfall_iomem_alloc(struct thread_data *td, size_t size) {
  const struct options *o = td->eo;
  struct job *job = td->io_ops_data;
  if (!o->fixedbufs) {
    void *memory = NULL;
    if (posix_memalign(&memory, page_mask + 1, size) != 0) return 1;
    td->orig_buffer = memory;
    return 0;
  }
  int status = rf_arena_open(job->engine, size, 0, &job->arena);
  if (status != 0) return failed(td, status, "rf_arena_open");
  td->orig_buffer = rf_arena_base(job->arena);
  return 0;
}

/* fio may ask for other buffers afterwards, but not with I/O under way: if there is some, the job
 * is being given up. */
static void ringfall_iomem_free(struct thread_data *td) {
  struct job *job = td->io_ops_data;
  if (job == NULL) return;
  if (job->held > 0) {
    (void)rf_queue_close(job->queue);
    job->queue = NULL;
  }
  if (job->arena == NULL)
    free(td->orig_buffer);
  else
    rf_arena_close(job->arena);
  job->arena = NULL;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int attach(struct thread_data *td, struct fio_file *f) {
  struct job *job = td->io_ops_data;
  struct open_file *open = calloc(1, sizeof(*open));
  int status = open == NULL ? -ENOMEM : rf_file_from_fd(job->engine, f->fd, false, &open->file);
  if (status != 0) {
    free(open);
    return failed(td, status, "rf_file_from_fd");
  }
  open->next = job->files;
  open->link = &job->files;
  if (open->next != NULL) open->next->link = &open->next;
  job->files = open;
  f->engine_data = open;
  return 0;
}

/* fio also opens files before there is a job, to see how large they are. */
static int ringfall_open_file(struct thread_data *td, struct fio_file *f) {
  int answer = generic_open_file(td, f);
  if (answer != 0 || td->io_ops_data == NULL) return answer;
  if (attach(td, f) == 0) return 0;
  (void)!generic_close_file(td, f);
  return 1;
}

static int ringfall_close_file(struct thread_data *td, struct fio_file *f) {
  if (f->engine_data != NULL) {
    int status = detach(f->engine_data);
    if (status != 0) return -status;
    f->engine_data = NULL;
  }
  return generic_close_file(td, f);
}

/* ---- submitting ------------------------------------------------------------------------------ */

static bool is_transfer(const struct io_u *io_u) {
  return io_u->ddir == DDIR_READ || io_u->ddir == DDIR_WRITE;
}

static void fill_transfer(struct job *job, struct rf_op *op, const struct io_u *io_u) {
  bool read = io_u->ddir == DDIR_READ;
  op->flags = job->flags;
  op->offset = io_u->offset;
  if (job->plain) {
    op->kind = read ? RF_OP_READ : RF_OP_WRITE;
    op->buf = io_u->xfer_buf;
    op->len = io_u->xfer_buflen;
    return;
  }
  struct iovec *vector = &job->vectors[io_u->index];
  vector->iov_base = io_u->xfer_buf;
  vector->iov_len = io_u->xfer_buflen;
  op->kind = read ? RF_OP_READV : RF_OP_WRITEV;
  op->iov = vector;
  op->len = 1;
}

/* The fields that differ: the rest of the array's ops stays as calloc made it. */
static void fill(struct job *job, struct rf_op *op, struct io_u *io_u) {
  const struct open_file *open = io_u->file->engine_data;
  op->file = open->file;
  op->user_data = (uint64_t)(uintptr_t)io_u;
  if (is_transfer(io_u)) {
    fill_transfer(job, op, io_u);
    return;
  }
  bool trim = io_u->ddir == DDIR_TRIM;
  op->kind = trim ? RF_OP_DISCARD : io_u->ddir == DDIR_SYNC ? RF_OP_FSYNC : RF_OP_FDATASYNC;
  op->flags = 0;
  op->buf = NULL;
  op->offset = trim ? io_u->offset : 0;
  op->len = trim ? io_u->xfer_buflen : 0;
}

/* What ringfall has no op for: sync_file_range, and trims that are resets of zones. */
static bool is_foreign(const struct thread_data *td, const struct io_u *io_u) {
  if (io_u->ddir == DDIR_TRIM) return td->o.zone_mode == ZONE_MODE_ZBD;
  return !is_transfer(io_u) && io_u->ddir != DDIR_SYNC && io_u->ddir != DDIR_DATASYNC;
}

static enum fio_q_status do_foreign(struct thread_data *td, struct io_u *io_u) {
  struct job *job = td->io_ops_data;
  if (job->collected > 0) return FIO_Q_BUSY; /* not before what was queued earlier */
  if (io_u->ddir == DDIR_TRIM)
    (void)do_io_u_trim(td, io_u);
  else
    (void)do_io_u_sync(td, io_u);
  io_u_mark_submit(td, 1);
  io_u_mark_complete(td, 1);
  return FIO_Q_COMPLETED;
}

/* In fio's own engines a trim is over before the next op begins, and workloads such as trimwrite
 * count on that: nothing overtakes one here.  Trims among themselves do run together. */
static enum fio_q_status ringfall_queue(struct thread_data *td, struct io_u *io_u) {
  struct job *job = td->io_ops_data;
  fio_ro_check(td, io_u);
  if (is_foreign(td, io_u)) return do_foreign(td, io_u);
  if (job->trims > 0 && io_u->ddir != DDIR_TRIM) return FIO_Q_BUSY;
  fill(job, &job->ops[job->collected], io_u);
  job->collected++;
  job->held++;
  job->trims += io_u->ddir == DDIR_TRIM;
  return FIO_Q_QUEUED;
}

/* The queue took this many of what was collected. */
static void forget(struct job *job, unsigned taken) {
  job->collected -= taken;
  job->committed = job->committed > taken ? job->committed - taken : 0;
  if (job->collected > 0 && taken > 0)
    memmove(job->ops, job->ops + taken, job->collected * sizeof(*job->ops));
}

/* fio's clocks for submission; one reading for a whole batch. */
static void stamp(struct thread_data *td, const struct rf_op *ops, unsigned count) {
  struct timespec now;
  if (!fio_fill_issue_time(td)) return;
  fio_gettime(&now, NULL);
  for (unsigned i = 0; i < count; i++) {
    struct io_u *io_u = (struct io_u *)(uintptr_t)ops[i].user_data;
    io_u->issue_time = now;
    io_u_queued(td, io_u);
  }
  if (td->o.read_iolog_file) td->last_issue = now;
}

static int ringfall_commit(struct thread_data *td) {
  struct job *job = td->io_ops_data;
  unsigned fresh = job->collected - job->committed;
  if (fresh == 0) return 0;
  stamp(td, job->ops + job->committed, fresh);
  io_u_mark_submit(td, fresh);
  job->committed = job->collected;
  if (job->held == job->depth) return 0; /* fio comes to getevents() next */
  int status = rf_submit(job->queue, job->ops, job->collected);
  if (status < 0) return status;
  forget(job, (unsigned)status);
  return rf_flush(job->queue);
}

/* ---- completions ----------------------------------------------------------------------------- */

static int64_t nanoseconds(const struct timespec *t) {
  return t == NULL ? RF_FOREVER : (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

/* As in fio's own engines, iodepth_batch_complete_min=0 means to look again and again instead of
 * going to sleep. */
static int ringfall_getevents(struct thread_data *td, unsigned min, unsigned max,
                              const struct timespec *t) {
  struct job *job = td->io_ops_data;
  unsigned n = 0;
  if (max > job->depth) max = job->depth;
  if (min > job->held) min = job->held;
  if (max == 0) return 0;
  do {
    unsigned taken = 0;
    int found =
        rf_submit_and_wait(job->queue, job->ops, job->collected, &taken, job->done + n,
                           job->polling ? 0 : min - n, max - n, job->polling ? 0 : nanoseconds(t));
    if (found < 0) return found;
    forget(job, taken);
    n += (unsigned)found;
  } while (n < min && (t == NULL || job->polling));
  job->held -= n;
  return (int)n;
}

/* fio does not look at the error of a sync that was queued: the job is told here. */
static struct io_u *ringfall_event(struct thread_data *td, int event) {
  struct job *job = td->io_ops_data;
  const struct rf_completion *done = &job->done[event];
  struct io_u *io_u = (struct io_u *)(uintptr_t)done->user_data;
  job->trims -= done->kind == RF_OP_DISCARD;
  io_u->error = (unsigned)-done->status;
  if (is_transfer(io_u)) io_u->resid = io_u->xfer_buflen - (unsigned long long)done->bytes;
  if (done->status != 0 && ddir_sync(io_u->ddir) && td->error == 0)
    td_verror(td, -done->status, "sync");
  return io_u;
}

struct ioengine_ops ioengine = {
    .name = "ringfall",
    .version = FIO_IOOPS_VERSION,
    .flags = FIO_ASYNCIO_SETS_ISSUE_TIME | FIO_NO_OFFLOAD,
    .init = ringfall_init,
    .post_init = ringfall_post_init,
    .queue = ringfall_queue,
    .commit = ringfall_commit,
    .getevents = ringfall_getevents,
    .event = ringfall_event,
    .cleanup = ringfall_cleanup,
    .open_file = ringfall_open_file,
    .close_file = ringfall_close_file,
    .get_file_size = generic_get_file_size,
    .iomem_alloc = ringfall_iomem_alloc,
    .iomem_free = ringfall_iomem_free,
    .options = option_table,
    .option_struct_size = sizeof(struct options),
};
