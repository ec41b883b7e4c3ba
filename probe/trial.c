// SPDX-License-Identifier: Apache-2.0
/*
 * A backend put to the test.
 *
 * One request at a time, each with a time limit, since some failures are only silence (an io_uring
 * request that needs a kernel worker under RLIMIT_NPROC 0 is taken and never answered).  Silence
 * makes memory unsafe: the kernel may still write into the buffers at any later moment.  Therefore
 * they are on the heap, and if not even cancelling brings the request back, they are given up: a
 * few KiB are leaked, once, on purpose, because the alternative is corrupted memory.
 */
#include "probe/trial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "probe/scratch.h"

#define SECOND_NS       1000000000
#define ANSWER_LIMIT_NS (2 * (int64_t)SECOND_NS)
#define RETRY_LIMIT_NS  ((int64_t)SECOND_NS / 10) /* for 'not now' and for cancelling */
#define PAUSE_NS        1000000

struct trial {
  struct rf_backend *backend;
  const char *wait_call;
  struct rf_refusal *refusal;
  bool in_flight;
  struct rf_request request;
  unsigned char wrote[RF_SCRATCH_BYTES];
  unsigned char got[RF_SCRATCH_BYTES];
};

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

static void pause_briefly(void) {
  struct timespec pause = {0, PAUSE_NS};
  nanosleep(&pause, NULL);
}

static bool refuse(struct trial *t, enum rf_stage stage, const char *call, int error) {
  *t->refusal = (struct rf_refusal){.stage = stage, .call = call, .error = error};
  return false;
}

static bool wrong(struct trial *t, enum rf_stage stage, const char *call, int error,
                  const char *story) {
  refuse(t, stage, call, error);
  t->refusal->deed = story;
  t->refusal->wrong_answer = true;
  return false;
}

static bool reap(struct trial *t, int64_t *res) {
  struct rf_result result;
  if (t->backend->ops->reap(t->backend, &result, 1) == 0) return false;
  *res = result.res;
  t->in_flight = false;
  return true;
}

static bool not_now(int status) {
  return status == 0 || status == -EAGAIN || status == -EBUSY || status == -EINTR ||
         status == -ENOMEM;
}

static bool submit(struct trial *t) {
  struct rf_request *request = &t->request;
  int64_t until = now_ns() + RETRY_LIMIT_NS;
  for (;;) {
    int status = t->backend->ops->submit(t->backend, &request, 1, 1, ANSWER_LIMIT_NS);
    if (status == 1) {
      t->in_flight = true;
      return true;
    }
    if (!not_now(status) || now_ns() > until)
      return refuse(t, RF_STAGE_SUBMIT, t->backend->ops->submit_call,
                    status == 0 ? EAGAIN : -status);
    pause_briefly();
  }
}

static bool await(struct trial *t, int64_t *res) {
  int64_t until = now_ns() + ANSWER_LIMIT_NS;
  while (!reap(t, res)) {
    int64_t left = until - now_ns();
    if (left <= 0)
      return wrong(t, RF_STAGE_WAIT, t->wait_call, ETIMEDOUT,
                   "no answer within 2 seconds (ETIMEDOUT)");
    int status = t->backend->ops->submit(t->backend, NULL, 0, 1, left);
    if (status < 0) return refuse(t, RF_STAGE_WAIT, t->wait_call, -status);
  }
  return true;
}

static bool run(struct trial *t, enum rf_request_kind kind, int fd, void *buf, size_t len,
                int64_t *res) {
  t->request =
      (struct rf_request){.kind = (uint8_t)kind, .fd = fd, .buf = buf, .len = len, .offset = 0};
  return submit(t) && await(t, res);
}

static bool nop(struct trial *t) {
  int64_t res;
  if (!(t->backend->kinds & 1u << RF_REQUEST_NOP)) return true;
  if (!run(t, RF_REQUEST_NOP, -1, NULL, 0, &res)) return false;
  if (res >= 0) return true;
  refuse(t, RF_STAGE_SUBMIT, t->backend->ops->submit_call, (int)-res);
  t->refusal->deed = "a nop";
  return false;
}

/* `deed` for an error, `story` for fewer bytes than there are. */
static bool transfer(struct trial *t, enum rf_request_kind kind, int fd, void *buf, size_t len,
                     const char *deed, const char *story) {
  const char *call = t->backend->ops->submit_call;
  int64_t res;
  if (!run(t, kind, fd, buf, len, &res)) return false;
  if (res == (int64_t)len) return true;
  if (res >= 0) return wrong(t, RF_STAGE_IO, call, EIO, story);
  refuse(t, RF_STAGE_IO, call, (int)-res);
  t->refusal->deed = deed;
  return false;
}

static bool write_and_read(struct trial *t, int fd) {
  size_t room = rf_scratch_room(); /* 0: the read finds an empty file, which is right, too */
  rf_scratch_pattern(t->wrote, room, (uint32_t)now_ns());
  if (room > 0 && !transfer(t, RF_REQUEST_WRITE, fd, t->wrote, room, "a write",
                            "a write stored fewer bytes than it was given"))
    return false;
  if (!transfer(t, RF_REQUEST_READ, fd, t->got, room, "a read",
                "a read brought fewer bytes than had been written"))
    return false;
  if (memcmp(t->wrote, t->got, room) == 0) return true;
  return wrong(t, RF_STAGE_IO, t->backend->ops->submit_call, EIO,
               "a read brought other bytes than had been written");
}

/* True when the request is back. */
static bool bring_back(struct trial *t) {
  int64_t res;
  int64_t until = now_ns() + RETRY_LIMIT_NS;
  (void)t->backend->ops->cancel(t->backend, &t->request);
  while (!reap(t, &res)) {
    if (now_ns() > until) return false;
    pause_briefly();
  }
  return true;
}

bool rf_trial(struct rf_backend *backend, int fd, const char *wait_call,
              struct rf_refusal *refusal) {
  struct trial *t = calloc(1, sizeof(*t));
  *refusal = (struct rf_refusal){.call = ""};
  if (t == NULL) {
    *refusal = (struct rf_refusal){.stage = RF_STAGE_SETUP, .call = "malloc", .error = ENOMEM};
    backend->ops->close(backend);
    return true;
  }
  t->backend = backend;
  t->wait_call = wait_call;
  t->refusal = refusal;
  (void)(nop(t) && write_and_read(t, fd));
  if (t->in_flight && !bring_back(t)) return false; /* t and the backend: leaked, see above */
  backend->ops->close(backend);
  free(t);
  return true;
}
