// SPDX-License-Identifier: Apache-2.0
/*
 * The host probe: every backend is opened as a queue would open it, and put to the test.
 *
 * All of them are tried, also after one has been found to work: an operator wants to see what there
 * is to fall back on, and a queue may have to.  The limits are read first, since a backend's trial
 * changes some of them (fs.aio-nr), and the descriptor of the trial's file is taken before the
 * backends try to get one: what then is missing, a real queue would miss as well.
 */
#include <assert.h>
#include <errno.h>
#include <ringfall/verdict.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backends/backend.h"
#include "probe/cause.h"
#include "probe/child.h"
#include "probe/scratch.h"
#include "probe/trial.h"

static_assert(RF_BACKENDS == RF_BACKEND_TABLES, "one table a backend, in the order of the enum");

enum { DEPTH_DEFAULT = 128, DEPTH_MOST = 65536, WORKERS = 16 };

struct probe {
  struct rf_surroundings around;
  const char *directory;
  unsigned depth;
  int fd; /* the trial's file */
};

/* By a plain call: what that cannot do is no backend's fault. */
static bool takes_data(int fd) {
  unsigned char data[RF_SCRATCH_BYTES] = {0};
  size_t room = rf_scratch_room();
  return room == 0 || pwrite(fd, data, room, 0) == (ssize_t)room;
}

/* An unusable directory, or a full one, is reported by rf_probe_directory(), not here. */
static int open_scratch(struct probe *p) {
  const char *call;
  p->fd = p->directory != NULL ? rf_scratch_in_directory(p->directory, &call) : -1;
  if (p->fd >= 0 && !takes_data(p->fd)) {
    close(p->fd);
    p->fd = -1;
  }
  p->around.in_directory = p->fd >= 0;
  if (p->fd < 0) p->fd = rf_scratch_in_memory();
  return p->fd < 0 ? p->fd : 0;
}

static void not_built(const struct rf_backend_report *report, struct rf_verdict *v) {
  v->stage = RF_STAGE_BUILD;
  v->error = report->error != 0 ? report->error : ENOSYS;
  v->cause = RF_CAUSE_NOT_BUILT;
  snprintf(v->why, sizeof(v->why), "%s", report->reason != NULL ? report->reason : "not built in");
  snprintf(v->remedy, sizeof(v->remedy), "%s", report->remedy != NULL ? report->remedy : "");
}

static struct rf_refusal refusal_of(const struct rf_backend_report *report, int status) {
  struct rf_refusal refusal = {.call = report->syscall, .error = report->error};
  if (refusal.error == 0 && status < 0) refusal.error = -status;
  if (refusal.error == 0) return (struct rf_refusal){.call = ""};
  if (refusal.call == NULL || refusal.call[0] == '\0') refusal.call = "malloc";
  refusal.stage = rf_stage_of(refusal.call);
  return refusal;
}

/* The call that a backend sleeps in, for the verdict. */
static const char *wait_call(enum rf_backend_id id, const struct rf_backend_report *report) {
  if (id == RF_BACKEND_IO_URING) return "io_uring_enter";
  if (id == RF_BACKEND_THREADS) return "futex";
  bool older = report->syscall != NULL && strcmp(report->syscall, "io_pgetevents") == 0;
  return older ? "io_getevents" : "io_pgetevents";
}

static int try_backend(struct probe *p, enum rf_backend_id id, struct rf_verdict *v) {
  const struct rf_backend_ops *ops = rf_backend_tables[id];
  struct rf_backend_config config = {.depth = p->depth, .workers = WORKERS, .registered = true};
  struct rf_backend_report report = {.syscall = ""};
  struct rf_backend *backend = NULL;
  struct rf_refusal refusal;

  v->tried = true;
  int status = ops->open(&config, &backend, &report);
  if (report.absent) {
    not_built(&report, v);
    return 0;
  }
  snprintf(v->features, sizeof(v->features), "%s", report.features);
  struct rf_refusal at_open = refusal_of(&report, status);
  if (status != 0) {
    rf_explain(&p->around, &at_open, v);
    return 0;
  }
  v->depth = backend->capacity < p->depth ? backend->capacity : p->depth;
  bool returned = rf_trial(backend, p->fd, wait_call(id, &report), &refusal);
  v->usable = refusal.error == 0;
  rf_explain(&p->around, v->usable ? &at_open : &refusal, v);
  return returned ? 0 : open_scratch(p); /* the old descriptor stays open: see rf_trial() */
}

/* Shared with the child that tries a backend. */
struct attempt {
  struct probe *probe;
  enum rf_backend_id id;
  bool finished; /* the verdict is complete */
  struct rf_verdict verdict;
};

static void make_attempt(void *context) {
  struct attempt *attempt = context;
  (void)try_backend(attempt->probe, attempt->id, &attempt->verdict);
  attempt->finished = true;
}

/* The call may also be a later one of the same interface: a killed process cannot tell. */
static struct rf_refusal refusal_by_death(enum rf_backend_id id, struct rf_child_end end) {
  static const char *const first_calls[RF_BACKENDS] = {
      [RF_BACKEND_IO_URING] = "io_uring_setup",
      [RF_BACKEND_LIBAIO] = "io_setup",
      [RF_BACKEND_THREADS] = "clone",
  };
  struct rf_refusal refusal = {
      .stage = RF_STAGE_SETUP, .call = first_calls[id], .error = EPERM, .wrong_answer = true};
  refusal.killed = end.signal == SIGSYS;
  refusal.deed = refusal.killed ? "the child process that tried it, or a call after it, was killed "
                                  "by seccomp (SIGSYS)"
                                : "the child process that tried it, or a call after it, died";
  return refusal;
}

static int try_in_child(struct probe *p, enum rf_backend_id id, struct rf_verdict *v) {
  struct attempt *attempt =
      mmap(NULL, sizeof(*attempt), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (attempt == MAP_FAILED) return -errno;
  *attempt = (struct attempt){.probe = p, .id = id, .verdict = *v};
  struct rf_child_end end = rf_run_in_child(make_attempt, attempt);
  struct rf_refusal refusal = refusal_by_death(id, end);
  if (end.error != 0)
    refusal = (struct rf_refusal){.stage = RF_STAGE_SETUP, .call = "fork", .error = end.error};
  v->tried = true;
  if (attempt->finished) {
    *v = attempt->verdict;
  } else {
    rf_explain(&p->around, &refusal, v);
  }
  munmap(attempt, sizeof(*attempt));
  return 0;
}

static enum rf_backend_id select_backend(const struct rf_host *host) {
  for (int id = 0; id < RF_BACKENDS; id++)
    if (host->verdicts[id].usable) return (enum rf_backend_id)id;
  return RF_BACKEND_THREADS;
}

int rf_probe_host(const struct rf_probe_options *options, struct rf_host *host) {
  struct probe p = {.depth = DEPTH_DEFAULT, .fd = -1};
  bool first_only = false, in_child = false;
  uint32_t skip = 0;
  if (host == NULL) return -EINVAL;
  if (options != NULL) {
    if (options->depth > DEPTH_MOST) return -EINVAL;
    if (options->depth != 0) p.depth = options->depth;
    p.directory = options->directory;
    first_only = options->first_only;
    skip = options->skip;
    in_child = options->in_child;
  }
  memset(host, 0, sizeof(*host));
  rf_probe_limits(&p.around.limits);
  rf_probe_rights(&p.around.rights);
  host->limits = p.around.limits;

  for (int id = 0; id < RF_BACKENDS; id++)
    host->verdicts[id] = (struct rf_verdict){
        .backend = (enum rf_backend_id)id, .syscall = "", .depth_asked = p.depth};

  int status = open_scratch(&p);
  for (int id = 0; status == 0 && id < RF_BACKENDS; id++) {
    if (skip & 1u << id) continue;
    status =
        (in_child ? try_in_child : try_backend)(&p, (enum rf_backend_id)id, &host->verdicts[id]);
    if (host->verdicts[id].usable && first_only) break;
  }
  if (p.fd >= 0) close(p.fd);
  if (status == 0) host->selected = select_backend(host);
  return status;
}
