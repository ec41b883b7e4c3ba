// SPDX-License-Identifier: Apache-2.0
/*
 * What is left of a ring that can no longer be entered, and how to get it.
 *
 * With deferred task work the kernel posts completions only inside io_uring_enter.  Where that is
 * denied in mid-flight (a seccomp filter that was installed later), requests finish, but nobody is
 * told, and the caller's buffers are in use for nobody knows how long.  The way out is to give the
 * ring up: once the last reference to it is gone, the kernel finishes or cancels every request and
 * posts its completion, into rings that nobody has mapped any more.  Two things are prepared so
 * that this can be watched from outside:
 *
 *  - The end.  The write end of a pipe is registered as one of the ring's files, and is open
 *    nowhere else.  The kernel lets registered files go when the last request is done, and not
 *    before.  So the read end hangs up exactly when no request can touch memory any more.
 *  - The answers.  Before the ring is unmapped (a mapping is a reference to it), the pages of the
 *    completion ring are lent to a pipe by vmsplice: a reference to the pages, not to the ring.
 *    After the end they are read from there, with everything that was posted meanwhile.
 *
 * Turned down: closing the descriptor and reading on in the mapping (the mapping keeps the ring
 * alive, and nothing is posted); rings in memory of our own, IORING_SETUP_NO_MMAP (Linux 6.5, and
 * another way to set up every ring, for a case that is rare); io_uring_register calls that happen
 * to run task work (none does in all versions); entering from another thread (a ring with one
 * issuer refuses it, and the filter is likely to be that thread's too); reporting every request as
 * lost.
 *
 * What can fail: pages that vmsplice does not take (kernels that map rings as bare page frames,
 * before 6.10), then the answers are lost but the end is known; registration refused, or a forked
 * child that still has the ring, then the end is not known, and after RF_REMAINS_PATIENCE_NS we say
 * so.  Rings without deferred task work are given up a second later: what they still post is found
 * in them.
 */
#ifndef RINGFALL_BACKENDS_URING_REMAINS_H
#define RINGFALL_BACKENDS_URING_REMAINS_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#define RF_REMAINS_PATIENCE_NS UINT64_C(10000000000)

struct rf_remains {
  int end_fd;          /* hangs up when no request is left; -1: it cannot be known */
  int pages_fd;        /* the completion ring's pages; -1: not to be had */
  bool given_up;       /* the ring is gone */
  bool done;           /* and so are its requests */
  uint64_t until_ns;   /* for so long the end is waited for */
  unsigned char *copy; /* of the completion ring, once done; NULL: lost */
  size_t size;
  size_t tail_at, entries_at; /* in it */
  unsigned head, mask;
};

void rf_remains_init(struct rf_remains *remains);

/* Puts the pipe into place `slot` of the ring's files. */
void rf_remains_watch(struct rf_remains *remains, struct io_uring *ring, unsigned slot);

/* Ends the ring, which is not to be touched afterwards. */
void rf_remains_give_up(struct rf_remains *remains, struct io_uring *ring);

/* As salvage() of backend.h, once given up. */
int rf_remains_wait(struct rf_remains *remains, int64_t timeout_ns);

/* The next completion that was found; NULL: no more. */
const struct io_uring_cqe *rf_remains_next(struct rf_remains *remains);

void rf_remains_free(struct rf_remains *remains);

#endif
