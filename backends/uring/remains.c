// SPDX-License-Identifier: Apache-2.0
/* See remains.h for how and why. */
#include "backends/uring/remains.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backends/backend.h"
#include "backends/mapping.h"

void rf_remains_init(struct rf_remains *remains) {
  *remains = (struct rf_remains){.end_fd = -1, .pages_fd = -1};
}

static void shut(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

void rf_remains_watch(struct rf_remains *remains, struct io_uring *ring, unsigned slot) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return;
  if (io_uring_register_files_update(ring, slot, &ends[1], 1) == 1)
    remains->end_fd = ends[0];
  else
    close(ends[0]);
  close(ends[1]);
}

/* ---- giving up ------------------------------------------------------------------------------- */

static size_t offset_of(const struct io_uring *ring, const void *at) {
  return (size_t)((const char *)at - (const char *)ring->cq.ring_ptr);
}

static bool lend_pages(int pipe_end, void *base, size_t size) {
  while (size > 0) {
    struct iovec pages = {base, size};
    ssize_t lent = vmsplice(pipe_end, &pages, 1, SPLICE_F_NONBLOCK);
    if (lent <= 0) return false;
    base = (char *)base + lent;
    size -= (size_t)lent;
  }
  return true;
}

static void keep_pages(struct rf_remains *remains, const struct io_uring *ring) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  int ends[2];
  remains->size = (ring->cq.ring_sz + page - 1) / page * page;
  remains->tail_at = offset_of(ring, ring->cq.ktail);
  remains->entries_at = offset_of(ring, ring->cq.cqes);
  remains->head = *ring->cq.khead;
  remains->mask = *ring->cq.kring_mask;
  if (remains->size > INT32_MAX || pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return;
  bool kept = fcntl(ends[1], F_SETPIPE_SZ, (int)remains->size) >= 0 &&
              lend_pages(ends[1], ring->cq.ring_ptr, remains->size);
  close(ends[1]);
  remains->pages_fd = ends[0];
  if (!kept) shut(&remains->pages_fd);
}

void rf_remains_give_up(struct rf_remains *remains, struct io_uring *ring) {
  remains->given_up = true;
  remains->until_ns = rf_now_ns() + RF_REMAINS_PATIENCE_NS;
  keep_pages(remains, ring);
  rf_mapping_goes();
  io_uring_queue_exit(ring);
}

/* ---- the end --------------------------------------------------------------------------------- */

static bool read_all(int fd, unsigned char *to, size_t size) {
  while (size > 0) {
    ssize_t got = read(fd, to, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    size -= (size_t)got;
  }
  return true;
}

static void read_pages(struct rf_remains *remains) {
  if (remains->pages_fd < 0) return;
  remains->copy = malloc(remains->size);
  if (remains->copy != NULL && !read_all(remains->pages_fd, remains->copy, remains->size)) {
    free(remains->copy);
    remains->copy = NULL;
  }
  shut(&remains->pages_fd);
}

int rf_remains_wait(struct rf_remains *remains, int64_t timeout_ns) {
  struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
  struct pollfd end = {remains->end_fd, POLLIN, 0}; /* which poll leaves out if it is negative */
  if (remains->done) return 0;
  if (ppoll(&end, 1, timeout_ns < 0 ? NULL : &timeout, NULL) == 1) {
    remains->done = true;
    read_pages(remains);
    return 0;
  }
  return rf_now_ns() < remains->until_ns ? -EINPROGRESS : -ETIMEDOUT;
}

const struct io_uring_cqe *rf_remains_next(struct rf_remains *remains) {
  if (remains->copy == NULL) return NULL;
  unsigned tail = *(const unsigned *)(const void *)(remains->copy + remains->tail_at);
  if (remains->head == tail) return NULL;
  const void *entries = remains->copy + remains->entries_at;
  return (const struct io_uring_cqe *)entries + (remains->head++ & remains->mask);
}

void rf_remains_free(struct rf_remains *remains) {
  shut(&remains->end_fd);
  shut(&remains->pages_fd);
  free(remains->copy);
}
