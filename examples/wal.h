// SPDX-License-Identifier: Apache-2.0
/*
 * A small write-ahead log with group commit.
 *
 * The promise: when wal_append() has answered 0, the record is there after every later wal_open(),
 * whatever became of the process or the machine; and a record is there whole or not at all.  Of a
 * record whose wal_append() answered an error, or did not get to answer, nobody knows whether it is
 * there: like any other it is whole if it is.
 *
 * Errors: the first write or sync that fails breaks the log.  That append, and all that come after
 * it, answer with that error; nothing is tried again.  Close the log and open it anew: recovery
 * then finds out what the file really has.
 *
 * Threads: wal_append() and wal_get_stats() may be called by all of them at once.
 */
#ifndef WAL_H
#define WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WAL_RECORD_MAX 65536u /* bytes of a record */

struct rf_engine;
struct wal;

/* Takes one record that was found.  The bytes are there during the call only. */
typedef void wal_visitor(void *context, uint64_t sequence, const void *data, size_t size);

/* What wal_open() found. */
struct wal_recovery {
  uint64_t records; /* whole ones; they have the sequence numbers 1 to this */
  uint64_t end;     /* bytes of the file that count; the rest was cut off */
  bool torn;        /* what was cut off began with something other than zeros: a record that was
                       never acknowledged; or the medium has lost what it once had */
};

/*
 * Opens the log, makes it if there is none, calls visit for each record in order, and cuts off what
 * comes behind the last whole one.  visit and found may be NULL.
 * -EBUSY: it is open elsewhere.  -EINVAL: the file is something else than a log, and was not
 * touched.  Another -errno: of opening, reading or syncing; nothing was cut off.
 */
int wal_open(struct rf_engine *engine, const char *path, wal_visitor *visit, void *context,
             struct wal_recovery *found, struct wal **wal);

/*
 * Appends a record (0 to WAL_RECORD_MAX bytes) and waits until it is durable.  Records that several
 * threads append meanwhile are written and synced together.  *sequence (may be NULL) is its number.
 * -EMSGSIZE: too long.  Another -errno: the log is broken, by this one or before.
 */
int wal_append(struct wal *wal, const void *data, size_t size, uint64_t *sequence);

/* Nobody may be appending.  0, or the error that broke the log.  NULL is fine. */
int wal_close(struct wal *wal);

struct wal_stats {
  uint64_t appended; /* records acknowledged */
  uint64_t batches;  /* writes with one sync each that took */
};
void wal_get_stats(struct wal *wal, struct wal_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
