// SPDX-License-Identifier: Apache-2.0
/*
 * How a transfer is split: into spans, each of which is moved in one way, and these into blocks.
 *
 * Reads with direct I/O cover the aligned range around what was asked for.  Whole units of it go
 * straight to the caller's memory if that is aligned; the rest through bounce buffers.  Writes may
 * not touch what is beside their range, so their ends go through the page cache (see the order in
 * transfer_internal.h).
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/transfer_internal.h"

/* Reads up to this length that are not aligned are one bounced block, not a head, a middle and a
 * tail. */
#define SMALL ((uint64_t)64 << 10)

static uint64_t round_down(uint64_t value, uint64_t unit) {
  return value - value % unit;
}

static uint64_t round_up(uint64_t value, uint64_t unit) {
  return round_down(value + unit - 1, unit);
}

static bool is_aligned(const struct rf_transfer *transfer, uint64_t offset) {
  uintptr_t address =
      (uintptr_t)transfer->request.buffer + (uintptr_t)(offset - transfer->request.offset);
  return address % rf_file_get_info(transfer->target.direct)->memory_align == 0;
}

/* What the ends of a write are kept clear of: a page of the cache, and a block of the file system,
 * which is what either reads and writes back as a whole. */
uint64_t rf_transfer_write_unit(const struct rf_file_info *info) {
  uint64_t unit = (uint64_t)sysconf(_SC_PAGESIZE);
  if (info->offset_align > unit) unit = info->offset_align;
  uint64_t block = info->block_size;
  bool sane = block <= (uint64_t)64 << 10 && (block & (block - 1)) == 0;
  return sane && block > unit ? block : unit;
}

/* ---- spans ----------------------------------------------------------------------------------- */

static void add_span(struct rf_transfer *transfer, uint64_t start, uint64_t end, bool direct) {
  struct rf_span *span = &transfer->spans[transfer->span_count];
  if (start >= end) return;
  span->start = span->straight_start = start;
  span->end = span->straight_end = end;
  span->direct = direct;
  transfer->span_count++;
}

static void bounce_all(struct rf_span *span) {
  span->straight_start = span->straight_end = span->end;
}

static void plan_read(struct rf_transfer *transfer) {
  uint64_t unit = rf_file_get_info(transfer->target.direct)->offset_align;
  uint64_t start = transfer->request.offset, end = transfer->end;
  add_span(transfer, round_down(start, unit), round_up(end, unit), true);
  struct rf_span *span = &transfer->spans[0];
  span->straight_start = round_up(start, unit);
  span->straight_end = round_down(end, unit);
  bool whole = span->straight_start == start && span->straight_end == end;
  if (span->straight_start >= span->straight_end || !is_aligned(transfer, span->straight_start) ||
      (!whole && transfer->request.length <= SMALL))
    bounce_all(span);
}

static void plan_write(struct rf_transfer *transfer) {
  uint64_t unit = rf_transfer_write_unit(rf_file_get_info(transfer->target.direct));
  uint64_t start = round_up(transfer->request.offset, unit);
  uint64_t end = round_down(transfer->end, unit);
  add_span(transfer, transfer->request.offset, start, false);
  add_span(transfer, start, end, true);
  if (!is_aligned(transfer, start)) bounce_all(&transfer->spans[transfer->span_count - 1]);
  add_span(transfer, end, transfer->end, false);
}

void rf_transfer_plan(struct rf_transfer *transfer) {
  if (transfer->request.length == 0) return;
  if (transfer->target.direct == NULL)
    add_span(transfer, transfer->request.offset, transfer->end, false);
  else if (transfer->write)
    plan_write(transfer);
  else
    plan_read(transfer);
  transfer->cursor = transfer->spans[0].start;
}

static uint64_t straight_before(const struct rf_span *span, uint64_t at) {
  if (at <= span->straight_start) return 0;
  return (at < span->straight_end ? at : span->straight_end) - span->straight_start;
}

/* The head of a write, if it has one, is done, and all that was buffered. */
void rf_transfer_plan_retreat(struct rf_transfer *transfer) {
  struct rf_transfer_result *result = &transfer->result;
  uint64_t at = transfer->stop_at, kept = at - transfer->request.offset;
  result->direct_bytes = kept - result->buffered_bytes;
  result->bounced_bytes =
      result->direct_bytes - straight_before(&transfer->spans[transfer->span], at);
  transfer->again = transfer->moved - kept;
  transfer->span = transfer->span_count = 0;
  add_span(transfer, at, transfer->end, false);
  transfer->cursor = at;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static uint64_t block_of(const struct rf_transfer *transfer, const struct rf_span *span,
                         bool bounced) {
  const struct rf_pool *pool = transfer->pool;
  if (!span->direct) return pool->options.block_size;
  uint64_t unit = rf_file_get_info(transfer->target.direct)->offset_align;
  if (bounced) return round_down(pool->bounce.chunk, unit);
  return round_up(pool->options.block_size, unit);
}

bool rf_transfer_cut(struct rf_transfer *transfer, struct rf_part *part, int *status) {
  const struct rf_span *span = &transfer->spans[transfer->span];
  uint64_t at = transfer->cursor;
  bool straight = at >= span->straight_start && at < span->straight_end;
  uint64_t limit = straight                    ? span->straight_end
                   : at < span->straight_start ? span->straight_start
                                               : span->end;
  uint64_t block = block_of(transfer, span, !straight);
  char *memory = straight ? (char *)transfer->request.buffer + (at - transfer->request.offset)
                          : rf_bounce_take(transfer->pool, status);
  if (memory == NULL) return false;
  part->offset = at;
  part->length = limit - at < block ? limit - at : block;
  part->memory = memory;
  part->bounced = !straight;
  part->direct = span->direct;
  transfer->cursor += part->length;
  return true;
}

uint64_t rf_part_useful(const struct rf_part *part, uint64_t bytes) {
  const struct rf_transfer *transfer = part->transfer;
  uint64_t start = part->offset, end = part->offset + bytes;
  if (start < transfer->request.offset) start = transfer->request.offset;
  if (end > transfer->end) end = transfer->end;
  return start < end ? end - start : 0;
}

/* ---- copying --------------------------------------------------------------------------------- */

/* Since Linux 5.14; libcs older than that do not name them. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

/* A page of the smallest size has 4096 bytes; a block need not begin with one. */
#define PAGES_MOST (RF_CHUNK_MOST / 4096 + 1)

/* Before Linux 5.14 pages that are in memory are taken to be usable: to touch each would cost as
 * much as the copy.  False if the call is known, and what it said was about the memory. */
static bool look_for_pages(char *pages, size_t size, unsigned char *resident) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  void *ours = (void *)((uintptr_t)&page / page * page);
  if (madvise(ours, page, MADV_POPULATE_READ) == 0) return false;
  return mincore(pages, size, resident) == 0;
}

/* Whether an access would end in a signal, the kernel tells exactly where it makes one itself: here
 * of one byte that is about to be written to, or of the word that holds a byte. */
static bool is_usable(char *at, bool write) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  void *ours = (void *)((uintptr_t)&page / page * page);
  const int nothing = -1; /* is refused after the word has been read */
  void *word = (void *)((uintptr_t)at / 8 * 8);
  long done = write ? mincore(ours, page, (unsigned char *)at)
                    : syscall(SYS_rt_sigprocmask, nothing, word, NULL, (size_t)8);
  return done == 0 || errno != EFAULT;
}

/*
 * How many bytes from `at` on can be read (or written to): at most those of a block.  A transfer
 * may be given memory that ends early or lacks the right, or a mapped file that was cut short; the
 * kernel answers EFAULT to that, and so do we where we copy.  One call asks for all pages, which
 * brings them in on the way; if it fails they are looked at one by one.  It fails for pages of
 * devices, too, which may be usable all the same.
 */
static uint64_t accessible(char *at, uint64_t count, bool write) {
  unsigned char resident[PAGES_MOST];
  size_t page = (size_t)sysconf(_SC_PAGESIZE), before = (uintptr_t)at % page;
  size_t pages = (before + count + page - 1) / page, good = 0;
  char *start = at - before;
  if (madvise(start, pages * page, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0)
    return count;
  bool looked = look_for_pages(start, pages * page, resident);
  while (good < pages &&
         ((looked && resident[good] & 1) || is_usable(good == 0 ? at : start + good * page, write)))
    good++;
  if (good == pages) return count;
  return good * page > before ? good * page - before : 0;
}

uint64_t rf_part_copy(const struct rf_part *part, uint64_t bytes) {
  const struct rf_transfer *transfer = part->transfer;
  uint64_t count = rf_part_useful(part, bytes);
  uint64_t start = part->offset;
  if (start < transfer->request.offset) start = transfer->request.offset;
  char *theirs = (char *)transfer->request.buffer + (start - transfer->request.offset);
  char *ours = part->memory + (start - part->offset);
  uint64_t there = count > 0 ? accessible(theirs, count, !transfer->write) : 0;
  if (there == 0) return count > 0 ? 0 : bytes;
  if (transfer->write)
    memcpy(ours, theirs, there);
  else
    memcpy(theirs, ours, there);
  return there == count ? bytes : start - part->offset + there;
}
