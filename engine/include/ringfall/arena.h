// SPDX-License-Identifier: Apache-2.0
/*
 * <ringfall/arena.h>: memory for I/O: zeroed, aligned for direct I/O on any device, in one piece,
 * so that a backend may register it as a whole.  Buffers from elsewhere work too.
 *
 * Its pages stay what they are until it is closed: what is registered would not follow a page that
 * was mapped anew or given back by madvise(MADV_DONTNEED), and data would go to the old one.
 *
 * Threads: the memory is the caller's to divide; the functions are thread-safe.
 */
#ifndef RINGFALL_ARENA_H
#define RINGFALL_ARENA_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rf_engine;
struct rf_arena;

/* What rf_arena_open() may be asked for. */
enum rf_arena_flags {
  /* mlock(2) it: all of it is in memory when it is opened, and stays there.  If that is refused
   * (RLIMIT_MEMLOCK, which counts it: -ENOMEM, -EPERM, -EAGAIN) opening fails with it.  Without,
   * nothing is locked. */
  RF_ARENA_LOCKED = 1u << 0,
};

/*
 * Makes an arena of at least `size` bytes (rounded up to whole pages).  One of 2 MiB or more begins
 * at a multiple of that, and the kernel is asked for transparent huge pages (madvise(2),
 * MADV_HUGEPAGE): direct I/O then costs it a fraction.  Where there are none the pages are
 * ordinary. -EINVAL: size 0, or a flag not known.  -ENOMEM.  With LOCKED: as of mlock(2).  -EBADF:
 * after fork.
 */
int rf_arena_open(struct rf_engine *engine, size_t size, unsigned flags, struct rf_arena **arena);

/*
 * Makes an arena of memory that the caller has already: a database's buffer pool, memory of
 * cudaHostAlloc(), huge pages of hugetlbfs.  Any address and size; what direct I/O asks of both
 * still holds for the ops, and huge pages are the caller's to ask for.  The memory stays the
 * caller's, who keeps it mapped, with the pages it has now, until the arena is closed.  Memory that
 * the kernel will not register (a mapped file, on most kernels; more than RLIMIT_MEMLOCK allows)
 * works as buffers from elsewhere do, and the log says so.
 *
 * -EINVAL: base NULL, size 0, or past the end of the address space.  -ENOMEM.  -EBADF: after fork.
 */
int rf_arena_adopt(struct rf_engine *engine, void *base, size_t size, struct rf_arena **arena);

/* Gives the memory back, or leaves it to its owner: no op may be using it.  NULL is fine. */
void rf_arena_close(struct rf_arena *arena);

/* Page-aligned; from 2 MiB on, to 2 MiB; of an adopted one, as given. */
void *rf_arena_base(const struct rf_arena *arena);
size_t rf_arena_size(const struct rf_arena *arena); /* bytes, after rounding; adopted: as given */

#ifdef __cplusplus
}
#endif
#endif
