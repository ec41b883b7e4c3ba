// SPDX-License-Identifier: Apache-2.0
/*
 * From a refusal to its cause, a sentence and a remedy.
 *
 * An errno alone says little: EPERM of io_uring_setup is a seccomp filter on one host and a sysctl
 * on the next, and the two have different remedies.  So each errno is held against what else can be
 * seen: first what would explain it for certain (the kernel's own switch, a limit that is reached),
 * then the seccomp filter if there is one, and only then a guess.  Where it is a guess, the
 * sentence says so.  The kernel's release is used for words only, never to decide what is usable.
 */
#include "probe/cause.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "probe/names.h"

#define SECCOMP_FILTER 2

/* A ring of the usual depth needs some tens of KiB of locked memory, and all rings of a user count
 * together.  Below this, RLIMIT_MEMLOCK is the likelier reason for ENOMEM than a filter. */
#define MEMLOCK_IS_SMALL (1024 * 1024)

static bool is(const struct rf_verdict *v, const char *call) {
  return strcmp(v->syscall, call) == 0;
}

static bool of_io_uring(const struct rf_verdict *v) {
  return strncmp(v->syscall, "io_uring_", strlen("io_uring_")) == 0;
}

static bool of_aio(const struct rf_verdict *v) {
  return strncmp(v->syscall, "io_", strlen("io_")) == 0 && !of_io_uring(v);
}

enum rf_stage rf_stage_of(const char *call) {
  static const struct {
    const char *call;
    enum rf_stage stage;
  } stages[] = {
      {"io_uring_register", RF_STAGE_REGISTER}, {"io_uring_enter", RF_STAGE_SUBMIT},
      {"io_submit", RF_STAGE_SUBMIT},           {"io_pgetevents", RF_STAGE_WAIT},
      {"io_getevents", RF_STAGE_WAIT},
  };
  for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++)
    if (strcmp(stages[i].call, call) == 0) return stages[i].stage;
  return RF_STAGE_SETUP;
}

/* ---- the cause ------------------------------------------------------------------------------ */

static bool filtered(const struct rf_surroundings *a) {
  return a->limits.seccomp == SECCOMP_FILTER;
}

/* As io_uring_allowed() in the kernel decides. */
static bool sysctl_forbids(const struct rf_surroundings *a) {
  if (a->limits.io_uring_disabled >= 2) return true;
  return a->limits.io_uring_disabled == 1 && !a->rights.sys_admin && !a->rights.in_ring_group;
}

/* The files exist exactly in kernels that have the interface; io_uring's only since Linux 6.6. */
static bool kernel_shows_it(const struct rf_surroundings *a, const struct rf_verdict *v) {
  if (of_io_uring(v)) return a->limits.io_uring_disabled >= 0;
  return of_aio(v) && !is(v, "io_pgetevents") && a->limits.aio_nr >= 0;
}

static bool at_least(const char *release, int major, int minor) {
  int have_major = 0, have_minor = 0;
  if (sscanf(release, "%d.%d", &have_major, &have_minor) < 2) return false;
  return have_major > major || (have_major == major && have_minor >= minor);
}

/* io_uring came with Linux 5.1, io_pgetevents with 4.18, the rest of AIO with 2.6. */
static bool kernel_is_old(const struct rf_surroundings *a, const struct rf_verdict *v) {
  if (of_io_uring(v)) return !at_least(a->limits.kernel, 5, 1);
  return is(v, "io_pgetevents") && !at_least(a->limits.kernel, 4, 18);
}

static enum rf_cause cause_of_missing_call(const struct rf_surroundings *a,
                                           const struct rf_verdict *v) {
  if (filtered(a) && !kernel_is_old(a, v)) return RF_CAUSE_SECCOMP;
  return kernel_shows_it(a, v) ? RF_CAUSE_OTHER : RF_CAUSE_NO_SYSCALL;
}

static enum rf_cause cause_of_shortage(const struct rf_surroundings *a,
                                       const struct rf_verdict *v) {
  bool counted = of_io_uring(v) && !a->rights.ipc_lock && a->limits.memlock >= 0 &&
                 a->limits.memlock != INT64_MAX;
  if (counted && (!filtered(a) || a->limits.memlock < MEMLOCK_IS_SMALL)) return RF_CAUSE_MEMLOCK;
  return filtered(a) ? RF_CAUSE_SECCOMP : RF_CAUSE_NOMEM;
}

/* The kernel answers EAGAIN to io_setup in one case only, aio_nr + depth > aio_max_nr, and to clone
 * where there are to be no more processes. */
static enum rf_cause cause_of_again(const struct rf_surroundings *a, const struct rf_verdict *v) {
  const struct rf_limits *l = &a->limits;
  bool known = l->aio_nr >= 0 && l->aio_max_nr >= 0;
  bool near = known && l->aio_nr + (int64_t)v->depth_asked > l->aio_max_nr;
  if (is(v, "io_setup") && (near || !filtered(a))) return RF_CAUSE_AIO_MAX_NR;
  if (is(v, "clone")) return RF_CAUSE_OTHER; /* one of two limits */
  return filtered(a) ? RF_CAUSE_SECCOMP : RF_CAUSE_OTHER;
}

/* Everything that the backend had opened is closed again: is there room for one more now? */
static enum rf_cause cause_of_no_descriptor(const struct rf_surroundings *a) {
  int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
  bool exhausted = fd < 0 && (errno == EMFILE || errno == ENFILE);
  if (fd >= 0) close(fd);
  return filtered(a) && !exhausted ? RF_CAUSE_SECCOMP : RF_CAUSE_NOFILE;
}

static enum rf_cause cause_of_io(const struct rf_surroundings *a, const struct rf_verdict *v,
                                 const struct rf_refusal *refusal) {
  if (refusal->wrong_answer) return a->in_directory ? RF_CAUSE_STORAGE : RF_CAUSE_OTHER;
  switch (v->error) {
    case EINVAL:
      return v->backend == RF_BACKEND_IO_URING ? RF_CAUSE_FLAG : RF_CAUSE_OTHER;
    case EPERM:
    case EACCES:
    case ENOSYS:
      return filtered(a) && v->backend == RF_BACKEND_THREADS ? RF_CAUSE_SECCOMP
                                                             : RF_CAUSE_PERMISSION;
    case ENOMEM:
      return RF_CAUSE_NOMEM;
    case ECANCELED:
      return RF_CAUSE_OTHER;
    default:
      return a->in_directory ? RF_CAUSE_STORAGE : RF_CAUSE_OTHER;
  }
}

static enum rf_cause find_cause(const struct rf_surroundings *a, const struct rf_verdict *v,
                                const struct rf_refusal *refusal) {
  if (v->stage == RF_STAGE_IO) return cause_of_io(a, v, refusal);
  if (refusal->killed) return RF_CAUSE_SECCOMP;
  if (refusal->wrong_answer) return RF_CAUSE_OTHER;
  switch (v->error) {
    case EPERM:
      if (is(v, "io_uring_setup") && sysctl_forbids(a)) return RF_CAUSE_SYSCTL;
      return filtered(a) ? RF_CAUSE_SECCOMP : RF_CAUSE_PERMISSION;
    case EACCES:
      return filtered(a) ? RF_CAUSE_SECCOMP : RF_CAUSE_PERMISSION;
    case ENOSYS:
      return cause_of_missing_call(a, v);
    case ENOMEM:
      return cause_of_shortage(a, v);
    case EAGAIN:
      return cause_of_again(a, v);
    case EMFILE:
    case ENFILE:
      return cause_of_no_descriptor(a);
    case EINVAL:
      return RF_CAUSE_FLAG;
    default:
      return filtered(a) ? RF_CAUSE_SECCOMP : RF_CAUSE_OTHER;
  }
}

/* ---- the sentence --------------------------------------------------------------------------- */

struct line {
  char *text;
  size_t size;
  size_t length;
};

static struct line begin(char *text, size_t size) {
  text[0] = '\0';
  return (struct line){text, size, 0};
}

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int wrote = vsnprintf(line->text + line->length, line->size - line->length, format, arguments);
  va_end(arguments);
  if (wrote < 0) return;
  line->length += (size_t)wrote;
  if (line->length >= line->size) line->length = line->size - 1;
}

static void add_limit(struct line *line, int64_t value, const char *unit) {
  if (value == INT64_MAX) {
    add(line, "unlimited");
  } else {
    add(line, "%" PRId64 "%s", value, unit);
  }
}

static void add_seccomp(struct line *line, const struct rf_surroundings *a,
                        const struct rf_verdict *v) {
  struct rf_errno_room room;
  bool forbidden = v->error == EPERM || v->error == EACCES;
  if (v->error == ENOSYS && kernel_shows_it(a, v)) {
    add(line, "the kernel has this call (%s exists), so the active seccomp filter (mode 2) answers",
        of_io_uring(v) ? "/proc/sys/kernel/io_uring_disabled" : "/proc/sys/fs/aio-nr");
  } else if (v->error == ENOSYS) {
    add(line, "a seccomp filter (mode 2) is active, and Linux %s should have this call",
        a->limits.kernel);
  } else if (forbidden && is(v, "io_uring_setup") && a->limits.io_uring_disabled >= 0) {
    add(line,
        "a seccomp filter (mode 2) is active, and kernel.io_uring_disabled is %" PRId64
        ", which does not forbid it",
        a->limits.io_uring_disabled);
  } else if (forbidden) {
    add(line, "a seccomp filter (mode 2) is active");
  } else if (v->error == ENOMEM) {
    add(line, "a seccomp filter (mode 2) is active, and no limit explains it (memlock ");
    add_limit(line, a->limits.memlock, " bytes");
    add(line, "%s)", a->rights.ipc_lock ? ", not applied to this process" : "");
  } else if (v->error == EMFILE || v->error == ENFILE) {
    add(line, "a seccomp filter (mode 2) is active, and there are descriptors left");
  } else if (is(v, "io_setup") && v->error == EAGAIN) {
    add(line,
        "a seccomp filter (mode 2) is active, and fs.aio-nr, %" PRId64
        ", leaves room below fs.aio-max-nr, %" PRId64,
        a->limits.aio_nr, a->limits.aio_max_nr);
  } else {
    add(line, "a seccomp filter (mode 2) is active, and the kernel itself does not answer %s here",
        rf_errno_name(v->error, &room));
  }
}

static void add_sysctl(struct line *line, const struct rf_surroundings *a) {
  if (a->limits.io_uring_disabled >= 2) {
    add(line, "kernel.io_uring_disabled is %" PRId64 ", which forbids io_uring to every process",
        a->limits.io_uring_disabled);
    return;
  }
  add(line,
      "kernel.io_uring_disabled is 1, and this process has neither CAP_SYS_ADMIN nor the "
      "group of kernel.io_uring_group (%" PRId64 ")",
      a->rights.ring_group);
}

static void add_memlock(struct line *line, const struct rf_surroundings *a) {
  add(line, "RLIMIT_MEMLOCK is ");
  add_limit(line, a->limits.memlock, " bytes");
  add(line, " for all rings of this user together, and the process has no CAP_IPC_LOCK");
}

static void add_nofile(struct line *line, const struct rf_surroundings *a,
                       const struct rf_verdict *v) {
  if (v->error == ENFILE) {
    add(line, "the whole system is out of file descriptors (fs.file-max)");
    return;
  }
  add(line, "RLIMIT_NOFILE is ");
  add_limit(line, a->limits.nofile, " descriptors");
  add(line, ", and none is left for the ring");
}

static void add_missing_call(struct line *line, const struct rf_surroundings *a,
                             const struct rf_verdict *v) {
  const char *since = of_io_uring(v) ? "5.1" : is(v, "io_pgetevents") ? "4.18" : NULL;
  add(line, "Linux %s does not have this call", a->limits.kernel);
  if (since != NULL && kernel_is_old(a, v)) {
    add(line, ", which came with Linux %s", since);
  } else {
    add(line, " (built without CONFIG_%s?)", of_io_uring(v) ? "IO_URING" : "AIO");
  }
}

static void add_no_thread(struct line *line, const struct rf_surroundings *a) {
  add(line,
      "no thread can be started, and without its workers a ring of Linux %s may never return; ",
      a->limits.kernel);
  add(line, "RLIMIT_NPROC is ");
  add_limit(line, a->rights.max_processes, "");
  add(line, ", the other limit is the cgroup's pids.max");
}

static void add_other(struct line *line, const struct rf_surroundings *a,
                      const struct rf_verdict *v) {
  if (v->error == EAGAIN && is(v, "clone")) {
    add_no_thread(line, a);
  } else if (v->error == ECANCELED && a->rights.max_processes != INT64_MAX) {
    add(line,
        "the kernel could not start a thread that it needs for this; RLIMIT_NPROC is %" PRId64,
        a->rights.max_processes);
  } else if (v->error == ETIMEDOUT && a->rights.max_processes != INT64_MAX) {
    add(line,
        "the kernel took the request and never answered; RLIMIT_NPROC is %" PRId64
        ", which may keep it from starting the threads that it needs",
        a->rights.max_processes);
  } else if (v->error == ETIMEDOUT) {
    add(line, "the kernel took the request and did not answer in time");
  } else if (v->error == ENOSYS) {
    add(line,
        "the kernel (Linux %s) has this call, and there is no seccomp filter: a sandbox that "
        "answers for the kernel?",
        a->limits.kernel);
  } else {
    add(line, "nothing that can be seen from here explains it (Linux %s)", a->limits.kernel);
  }
}

static void add_cause(struct line *line, const struct rf_surroundings *a,
                      const struct rf_verdict *v) {
  switch (v->cause) {
    case RF_CAUSE_SECCOMP:
      add_seccomp(line, a, v);
      break;
    case RF_CAUSE_SYSCTL:
      add_sysctl(line, a);
      break;
    case RF_CAUSE_MEMLOCK:
      add_memlock(line, a);
      break;
    case RF_CAUSE_AIO_MAX_NR:
      add(line, "fs.aio-nr is %" PRId64 " of fs.aio-max-nr %" PRId64 ", and %u were asked for",
          a->limits.aio_nr, a->limits.aio_max_nr, v->depth_asked);
      break;
    case RF_CAUSE_NOFILE:
      add_nofile(line, a, v);
      break;
    case RF_CAUSE_NO_SYSCALL:
      add_missing_call(line, a, v);
      break;
    case RF_CAUSE_NOMEM:
      add(line, "the kernel is short of memory, and no limit explains it");
      break;
    case RF_CAUSE_PERMISSION:
      add(line, "%s; a security module?",
          a->limits.seccomp < 0 ? "/proc does not say whether a seccomp filter is active"
                                : "neither a seccomp filter nor a sysctl explains it");
      break;
    case RF_CAUSE_FLAG:
      add(line, "Linux %s does not know a flag or an op of it", a->limits.kernel);
      break;
    case RF_CAUSE_STORAGE:
      add(line, "the directory's file system refused it");
      break;
    default:
      add_other(line, a, v);
      break;
  }
}

/* What a usable backend does without. */
static void add_consequence(struct line *line, const struct rf_verdict *v) {
  if (!v->usable) return;
  if (v->stage == RF_STAGE_REGISTER) {
    add(line, "; the ring is used without registered files and buffers");
  } else if (is(v, "io_pgetevents")) {
    add(line, "; io_getevents is used in its place");
  } else if (v->depth < v->depth_asked) {
    add(line, "; it holds %u requests in place of %u", v->depth, v->depth_asked);
  } else if (v->cause == RF_CAUSE_FLAG) {
    add(line, "; a lesser set of flags is in use");
  } else {
    add(line, "; it is used with less");
  }
}

static void say_why(const struct rf_surroundings *a, const struct rf_refusal *refusal,
                    struct rf_verdict *v) {
  struct rf_errno_room room;
  struct line line = begin(v->why, sizeof(v->why));
  if (refusal->wrong_answer) {
    add(&line, "%s: %s", v->syscall, refusal->deed);
    if (v->error != ETIMEDOUT) return;
    add(&line, ": ");
  } else if (refusal->deed != NULL) {
    add(&line, "%s: %s answered %s: ", v->syscall, refusal->deed, rf_errno_name(v->error, &room));
  } else {
    add(&line, "%s answered %s: ", v->syscall, rf_errno_name(v->error, &room));
  }
  add_cause(&line, a, v);
  add_consequence(&line, v);
}

/* ---- the remedy ----------------------------------------------------------------------------- */

static void remedy_for_seccomp(struct line *line, const struct rf_verdict *v) {
  const char *calls = of_io_uring(v) ? "io_uring_setup, io_uring_enter and io_uring_register"
                      : of_aio(v) ? "io_setup, io_submit, io_pgetevents, io_getevents, io_cancel "
                                    "and io_destroy"
                                  : v->syscall;
  add(line,
      "run with a seccomp profile that allows %s: docker run --security-opt "
      "seccomp=PROFILE.json; Kubernetes: a seccompProfile of type Localhost",
      calls);
  if (of_io_uring(v) || of_aio(v)) add(line, "; systemd: add @aio to SystemCallFilter=");
}

static void remedy_for_sysctl(struct line *line, const struct rf_surroundings *a) {
  add(line, "sysctl -w kernel.io_uring_disabled=0");
  if (a->limits.io_uring_disabled == 1)
    add(line, ", or for one group only: sysctl -w kernel.io_uring_group=GID");
}

/* Room for what other programs hold, too; the distributions' own advice is 1048576. */
static void remedy_for_aio_max_nr(struct line *line, const struct rf_surroundings *a) {
  int64_t most = 1048576;
  if (a->limits.aio_max_nr >= most) most = 2 * a->limits.aio_max_nr;
  add(line, "sysctl -w fs.aio-max-nr=%" PRId64, most);
}

static void remedy_for_nofile(struct line *line, const struct rf_surroundings *a,
                              const struct rf_verdict *v) {
  int64_t most = a->limits.nofile < 16384 ? 65536 : 4 * a->limits.nofile;
  if (v->error == ENFILE) {
    add(line, "sysctl -w fs.file-max=N with a larger N (now: sysctl fs.file-nr)");
    return;
  }
  add(line,
      "ulimit -n %" PRId64 "; systemd: LimitNOFILE=%" PRId64
      "; docker run --ulimit nofile=%" PRId64,
      most, most, most);
}

static void say_remedy(const struct rf_surroundings *a, struct rf_verdict *v) {
  struct line line = begin(v->remedy, sizeof(v->remedy));
  switch (v->cause) {
    case RF_CAUSE_SECCOMP:
      remedy_for_seccomp(&line, v);
      break;
    case RF_CAUSE_SYSCTL:
      remedy_for_sysctl(&line, a);
      break;
    case RF_CAUSE_MEMLOCK:
      add(&line, "ulimit -l unlimited; systemd: LimitMEMLOCK=infinity; "
                 "docker run --ulimit memlock=-1");
      break;
    case RF_CAUSE_AIO_MAX_NR:
      remedy_for_aio_max_nr(&line, a);
      break;
    case RF_CAUSE_NOFILE:
      remedy_for_nofile(&line, a, v);
      break;
    case RF_CAUSE_NO_SYSCALL:
      add(&line, is(v, "io_pgetevents") ? "Linux 4.18 or newer"
                 : of_io_uring(v)       ? "Linux 5.1 or newer with CONFIG_IO_URING=y"
                                        : "a kernel with CONFIG_AIO=y");
      break;
    case RF_CAUSE_PERMISSION:
      add(&line, "look for the denial: journalctl -k | grep -iE 'denied|apparmor|avc'");
      break;
    case RF_CAUSE_STORAGE:
      add(&line, "look at the directory itself: ringfall probe DIR");
      break;
    case RF_CAUSE_OTHER:
      if ((v->error == ETIMEDOUT || v->error == ECANCELED) && a->rights.max_processes != INT64_MAX)
        add(&line, "ulimit -u unlimited; systemd: LimitNPROC=infinity");
      if (v->error == EAGAIN && is(v, "clone"))
        add(&line,
            "ulimit -u unlimited; systemd: LimitNPROC=infinity, TasksMax=infinity; docker run "
            "--pids-limit -1");
      break;
    default:
      break; /* nothing that an operator could do: a newer kernel, more memory */
  }
}

void rf_explain(const struct rf_surroundings *around, const struct rf_refusal *refusal,
                struct rf_verdict *verdict) {
  verdict->stage = refusal->stage;
  verdict->syscall = refusal->error == 0 ? "" : refusal->call;
  verdict->error = refusal->error;
  if (refusal->error == 0) return;
  verdict->cause = find_cause(around, verdict, refusal);
  say_why(around, refusal, verdict);
  say_remedy(around, verdict);
}
