// SPDX-License-Identifier: Apache-2.0
/*
 * The file: a mark of 8 bytes, then records back to back, then zeros that were allocated ahead.
 * A record, numbers with the low byte first:
 *
 *     0   4  CRC32C of all that follows, up to the end of the record
 *     4   4  length of the data
 *     8   8  sequence number, from 1 on without gaps
 *     16     the data
 *
 * The first place where the checksum or the sequence number is wrong is the end of the log.
 */
#include "wal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <ringfall/ringfall.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define MARK          "ringwal\n"
#define MARK_SIZE     8u
#define RECORD_HEADER 16u
#define BATCH         (size_t)262144  /* bytes of a batch at most; any record fits */
#define WINDOW        (2 * BATCH)     /* recovery reads so much at once */
#define AHEAD         (size_t)4194304 /* how much is allocated at a time; more than a batch */

struct batch {
  unsigned char *bytes;
  size_t used;
  uint64_t last; /* sequence number of its last record */
};

struct wal {
  int lock_fd; /* keeps others out: see open_parts() */
  struct rf_file *file;
  struct rf_arena *arena; /* the two batches */
  struct rf_queue *queue; /* the leader's; see lead() */
  uint64_t end;           /* the leader's: where the next batch goes */
  uint64_t allocated;     /* the leader's: up to here the file has its blocks */
  bool allocates;         /* the leader's: the file system knows fallocate */

  pthread_t leader;
  pthread_mutex_t lock; /* for all below */
  pthread_cond_t work;  /* something to write, or the end */
  pthread_cond_t done;  /* a batch is done, and there is room again */
  struct batch batches[2];
  struct batch *filling; /* the one that takes records while the other is written */
  uint64_t next;         /* sequence numbers: of the next record */
  uint64_t durable;      /* of the last one that is durable */
  int broken;            /* 0, or the first error */
  bool closing;
  struct wal_stats stats;
};

/* ---- records --------------------------------------------------------------------------------- */

/* CRC32C (Castagnoli), four bits at a time.  A real log uses the processor's instruction. */
static uint32_t crc32c(const unsigned char *data, size_t size) {
  static const uint32_t table[16] = {0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1,
                                     0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
                                     0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9,
                                     0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75};
  uint32_t crc = 0xFFFFFFFF;
  for (size_t i = 0; i < size; i++) {
    crc ^= data[i];
    crc = (crc >> 4) ^ table[crc & 15];
    crc = (crc >> 4) ^ table[crc & 15];
  }
  return crc ^ 0xFFFFFFFF;
}

static void put32(unsigned char *at, uint32_t value) {
  value = htole32(value);
  memcpy(at, &value, 4);
}

static uint32_t get32(const unsigned char *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return le32toh(value);
}

static void put64(unsigned char *at, uint64_t value) {
  value = htole64(value);
  memcpy(at, &value, 8);
}

static uint64_t get64(const unsigned char *at) {
  uint64_t value;
  memcpy(&value, at, 8);
  return le64toh(value);
}

static void make_record(unsigned char *at, uint64_t sequence, const void *data, size_t size) {
  put32(at + 4, (uint32_t)size);
  put64(at + 8, sequence);
  if (size > 0) memcpy(at + RECORD_HEADER, data, size);
  put32(at, crc32c(at + 4, RECORD_HEADER - 4 + size));
}

/* ---- I/O ------------------------------------------------------------------------------------- */

/*
 * Does a chain of at most 3 ops, each after the one before has gone well.  0, or the status of the
 * one that did not: those behind it are -ECANCELED, which says nothing new.  *failed (may be NULL)
 * is that one, *bytes (may be NULL) what the first one moved.
 */
static int do_chain(struct rf_queue *queue, struct rf_op *ops, unsigned count, unsigned *failed,
                    int64_t *bytes) {
  struct rf_completion done[3];
  int statuses[3] = {0};
  for (unsigned i = 0; i < count; i++) {
    ops[i].user_data = i;
    if (i > 0) ops[i].flags |= RF_OP_LINK;
  }
  int n = rf_submit_and_wait(queue, ops, count, NULL, done, count, count, RF_FOREVER);
  if (n < 0) return n;
  for (int i = 0; i < n; i++) {
    statuses[done[i].user_data] = done[i].status;
    if (done[i].user_data == 0 && bytes != NULL) *bytes = done[i].bytes;
  }
  for (unsigned i = 0; i < count; i++) {
    if (statuses[i] == 0) continue;
    if (failed != NULL) *failed = i;
    return statuses[i];
  }
  return 0;
}

/*
 * Writes a batch and makes it durable: one chain, one wait.  No record is acknowledged before the
 * sync behind it has answered 0.
 *
 * A sync that failed is never tried again: the kernel has told its error and may have marked the
 * pages as clean, so that the next sync would succeed with the data lost.
 */
static int write_batch(struct wal *wal, const struct batch *batch) {
  struct rf_op ops[3];
  unsigned count = 0, failed = 0;
  /* A file that grows with every write has its size and its blocks written by every sync.
   * Allocated ahead, in large pieces, the growing is done seldom. */
  bool allocate = wal->allocates && wal->end + batch->used > wal->allocated;
  if (allocate) ops[count++] = rf_op_fallocate(wal->file, 0, wal->allocated, AHEAD, 0);
  ops[count++] = rf_op_write(wal->file, batch->bytes, batch->used, wal->end, 0);
  /* fdatasync, not fsync: the time of the last change need not be durable; the size, where it
   * has changed, is needed to read the data back, and so is included. */
  ops[count++] = rf_op_fdatasync(wal->file, 0);
  int status = do_chain(wal->queue, ops, count, &failed, NULL);
  if (allocate && failed == 0 && status == -EOPNOTSUPP) {
    wal->allocates = false; /* not here, then; nothing was written yet */
    return write_batch(wal, batch);
  }
  if (status != 0) return status;
  if (allocate) wal->allocated += AHEAD;
  wal->end += batch->used;
  return 0;
}

/* ---- group commit ---------------------------------------------------------------------------- */

/*
 * The leader: a thread of the log's own, since a queue belongs to one thread.  It writes what has
 * come together while it wrote the batch before: the slower the disk, the larger the batches.
 */
static void *lead(void *argument) {
  struct wal *wal = argument;
  pthread_mutex_lock(&wal->lock);
  while (wal->broken == 0) {
    while (wal->filling->used == 0 && !wal->closing) pthread_cond_wait(&wal->work, &wal->lock);
    struct batch *batch = wal->filling;
    if (batch->used == 0) break;
    wal->filling = &wal->batches[batch == &wal->batches[0]];
    pthread_cond_broadcast(&wal->done); /* there is room */
    pthread_mutex_unlock(&wal->lock);

    int status = write_batch(wal, batch);

    pthread_mutex_lock(&wal->lock);
    if (status == 0) {
      wal->stats.appended += batch->last - wal->durable;
      wal->stats.batches++;
      wal->durable = batch->last;
    } else {
      wal->broken = status;
    }
    batch->used = 0;
    pthread_cond_broadcast(&wal->done);
  }
  pthread_mutex_unlock(&wal->lock);
  (void)rf_queue_close(wal->queue); /* by its owner, while that lives; it is empty */
  wal->queue = NULL;
  return NULL;
}

int wal_append(struct wal *wal, const void *data, size_t size, uint64_t *sequence) {
  if (size > WAL_RECORD_MAX) return -EMSGSIZE;
  pthread_mutex_lock(&wal->lock);
  while (wal->broken == 0 && wal->filling->used + RECORD_HEADER + size > BATCH)
    pthread_cond_wait(&wal->done, &wal->lock);
  if (wal->broken == 0) {
    struct batch *batch = wal->filling;
    uint64_t mine = wal->next++;
    make_record(batch->bytes + batch->used, mine, data, size);
    batch->used += RECORD_HEADER + size;
    batch->last = mine;
    pthread_cond_signal(&wal->work);
    while (wal->durable < mine && wal->broken == 0) pthread_cond_wait(&wal->done, &wal->lock);
    if (wal->durable >= mine) {
      pthread_mutex_unlock(&wal->lock);
      if (sequence != NULL) *sequence = mine;
      return 0;
    }
  }
  int status = wal->broken;
  pthread_mutex_unlock(&wal->lock);
  return status;
}

void wal_get_stats(struct wal *wal, struct wal_stats *stats) {
  pthread_mutex_lock(&wal->lock);
  *stats = wal->stats;
  pthread_mutex_unlock(&wal->lock);
}

/* ---- recovery -------------------------------------------------------------------------------- */

/* Reads a file through a window. */
struct window {
  struct rf_queue *queue;
  struct rf_file *file;
  unsigned char *bytes; /* WINDOW of them */
  uint64_t start;       /* what is in it: from here ... */
  size_t size;          /* ... so much */
};

/* Has *at point to the bytes at this offset.  *count of them are there: at least `size`, or all up
 * to the end of the file. */
static int look_at(struct window *window, uint64_t offset, size_t size, const unsigned char **at,
                   size_t *count) {
  if (offset < window->start || offset + size > window->start + window->size) {
    uint32_t align = rf_file_get_info(window->file)->offset_align;
    uint64_t start = align > 1 ? offset - offset % align : offset;
    struct rf_op op = rf_op_read(window->file, window->bytes, WINDOW, start, 0);
    int64_t bytes = 0;
    window->size = 0;
    int status = do_chain(window->queue, &op, 1, NULL, &bytes);
    if (status != 0) return status;
    window->start = start;
    window->size = (size_t)bytes;
  }
  size_t skip = (size_t)(offset - window->start);
  *at = window->bytes + skip;
  *count = window->size > skip ? window->size - skip : 0;
  return 0;
}

/* A file that was begun and has no record yet may have a part of the mark, or zeros. */
static bool is_mark(const unsigned char *at, size_t count, bool *whole) {
  *whole = count >= MARK_SIZE && memcmp(at, MARK, MARK_SIZE) == 0;
  if (*whole) return true;
  if (count > MARK_SIZE) return false;
  for (size_t i = 0; i < count; i++)
    if (at[i] != 0 && at[i] != (unsigned char)MARK[i]) return false;
  return true;
}

/* An error of reading is no end of the log: nothing may be cut off because of it. */
static int scan(struct window *window, wal_visitor *visit, void *context,
                struct wal_recovery *found) {
  const unsigned char *at;
  size_t count;
  found->end = MARK_SIZE;
  for (;;) {
    int status = look_at(window, found->end, RECORD_HEADER, &at, &count);
    if (status != 0) return status;
    if (count < RECORD_HEADER || get32(at + 4) > WAL_RECORD_MAX) break;
    size_t whole = RECORD_HEADER + get32(at + 4);
    status = look_at(window, found->end, whole, &at, &count);
    if (status != 0) return status;
    if (count < whole || get32(at) != crc32c(at + 4, whole - 4)) break;
    if (get64(at + 8) != found->records + 1) break;
    found->records++;
    found->end += whole;
    if (visit != NULL) visit(context, found->records, at + RECORD_HEADER, whole - RECORD_HEADER);
  }
  for (size_t i = 0; i < count && i < RECORD_HEADER; i++) found->torn |= at[i] != 0;
  return 0;
}

/* Makes the file's name durable; fsync of the file does not do that. */
static int sync_directory(const char *path) {
  const char *slash = strrchr(path, '/');
  char *directory = slash == NULL ? strdup(".") : strndup(path, (size_t)(slash - path) + 1);
  if (directory == NULL) return -ENOMEM;
  int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int status = fd < 0 || fsync(fd) != 0 ? -errno : 0;
  if (fd >= 0) close(fd);
  free(directory);
  return status;
}

/*
 * Cuts off what does not count, so that the next record does not come before the remains of an old
 * one, and makes durable what does: a process that was killed may have left records that only the
 * page cache has, and from now on they count as acknowledged.  The directory is synced every time:
 * the process that made the log may have been killed before it did.
 */
static int settle(struct wal *wal, struct rf_queue *queue, const char *path, bool marked,
                  uint64_t end) {
  if (ftruncate(rf_file_fd(wal->file), (off_t)end) != 0) return -errno;
  struct rf_op ops[2];
  unsigned count = 0;
  if (!marked) ops[count++] = rf_op_write(wal->file, MARK, MARK_SIZE, 0, 0);
  ops[count++] = rf_op_fsync(wal->file, 0);
  int status = do_chain(queue, ops, count, NULL, NULL);
  return status != 0 ? status : sync_directory(path);
}

/*
 * The file is read past the page cache where that is possible.  After a sync that failed the cache
 * may have, and call clean, what the disk does not: records read from there would be built upon,
 * and vanish with the next loss of power.
 */
static int recover(struct rf_engine *engine, struct wal *wal, struct rf_queue *queue,
                   const char *path, wal_visitor *visit, void *context,
                   struct wal_recovery *found) {
  struct window window = {.queue = queue, .bytes = rf_arena_base(wal->arena)};
  int direct = rf_file_get_info(wal->file)->direct_possible ? O_DIRECT : 0;
  const unsigned char *at;
  size_t count;
  bool marked = false;
  int status = rf_file_open(engine, path, O_RDONLY | direct, 0, &window.file);
  if (status != 0) return status;
  status = look_at(&window, 0, MARK_SIZE + 1, &at, &count);
  if (status == 0 && !is_mark(at, count, &marked)) status = -EINVAL;
  if (status == 0 && marked) status = scan(&window, visit, context, found);
  if (status == 0 && !marked) found->end = MARK_SIZE;
  (void)rf_file_close(window.file); /* no op is on it: it cannot fail */
  if (status != 0) return status;
  return settle(wal, queue, path, marked, marked ? found->end : 0);
}

/* ---- opening and closing --------------------------------------------------------------------- */

static int open_parts(struct rf_engine *engine, struct wal *wal, const char *path,
                      wal_visitor *visit, void *context, struct wal_recovery *found) {
  struct rf_queue *queue; /* of this thread; the leader's is another */
  /* A descriptor for the lock alone.  Those that ringfall has are registered with its rings, and
   * the kernel lets go of a ring some time after it was closed, or after the process was killed:
   * so long would the log seem to be open elsewhere. */
  wal->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (wal->lock_fd < 0) return -errno;
  if (flock(wal->lock_fd, LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK ? -EBUSY : -errno;
  int status = rf_file_open(engine, path, O_RDWR, 0, &wal->file);
  if (status != 0) return status;
  status = rf_arena_open(engine, 2 * BATCH, 0, &wal->arena);
  if (status != 0) return status;
  status = rf_queue_open(engine, NULL, &queue);
  if (status != 0) return status;
  status = recover(engine, wal, queue, path, visit, context, found);
  int closed = rf_queue_close(queue);
  if (status == 0) status = closed;
  return status != 0 ? status : rf_queue_open(engine, NULL, &wal->queue);
}

static void close_parts(struct wal *wal) {
  (void)rf_queue_close(wal->queue);
  rf_arena_close(wal->arena);
  (void)rf_file_close(wal->file);
  if (wal->lock_fd >= 0) close(wal->lock_fd);
  pthread_cond_destroy(&wal->done);
  pthread_cond_destroy(&wal->work);
  pthread_mutex_destroy(&wal->lock);
  free(wal);
}

int wal_open(struct rf_engine *engine, const char *path, wal_visitor *visit, void *context,
             struct wal_recovery *found, struct wal **opened) {
  struct wal_recovery recovery = {0};
  struct wal *wal = calloc(1, sizeof(*wal));
  if (wal == NULL) return -ENOMEM;
  wal->lock_fd = -1;
  pthread_mutex_init(&wal->lock, NULL);
  pthread_cond_init(&wal->work, NULL);
  pthread_cond_init(&wal->done, NULL);
  int status = open_parts(engine, wal, path, visit, context, &recovery);
  if (status == 0) {
    for (int i = 0; i < 2; i++)
      wal->batches[i].bytes = (unsigned char *)rf_arena_base(wal->arena) + (size_t)i * BATCH;
    wal->filling = &wal->batches[0];
    wal->end = wal->allocated = recovery.end;
    wal->allocates = true;
    wal->durable = recovery.records;
    wal->next = recovery.records + 1;
    status = -pthread_create(&wal->leader, NULL, lead, wal);
  }
  if (status != 0) {
    close_parts(wal);
    return status;
  }
  if (found != NULL) *found = recovery;
  *opened = wal;
  return 0;
}

int wal_close(struct wal *wal) {
  if (wal == NULL) return 0;
  pthread_mutex_lock(&wal->lock);
  wal->closing = true;
  pthread_cond_signal(&wal->work);
  pthread_mutex_unlock(&wal->lock);
  pthread_join(wal->leader, NULL);
  int status = wal->broken;
  close_parts(wal);
  return status;
}
