// SPDX-License-Identifier: Apache-2.0
#include "page_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <ringfall/ringfall.h>
#include <stdlib.h>

#define DEPTH 128u /* reads in flight at most */
#define NONE  UINT32_MAX

struct frame {
  uint64_t page;
  uint32_t pins;
  uint32_t next;   /* in its bucket; NONE at the end */
  bool used;       /* it has a page */
  bool referenced; /* since the hand came by */
};

struct page_cache {
  struct rf_file *file;
  struct rf_arena *arena; /* the frames' bytes */
  struct rf_queue *queue;
  size_t page_size;
  uint64_t pages;
  uint32_t count; /* of frames */
  uint32_t hand;  /* CLOCK's */
  uint32_t bucket_mask;
  uint32_t *buckets; /* the first frame of each */
  struct frame *frames;
  struct rf_op *reads; /* of one get_many; user_data is the frame */
  struct page_cache_stats stats;
};

/* ---- which page is where ------------------------------------------------------------------------
 */

static uint32_t *bucket_of(const struct page_cache *cache, uint64_t page) {
  return &cache->buckets[(page * UINT64_C(0x9E3779B97F4A7C15)) >> 32 & cache->bucket_mask];
}

static uint32_t find(const struct page_cache *cache, uint64_t page) {
  uint32_t at = *bucket_of(cache, page);
  while (at != NONE && cache->frames[at].page != page) at = cache->frames[at].next;
  return at;
}

static void insert(struct page_cache *cache, uint32_t at, uint64_t page) {
  uint32_t *bucket = bucket_of(cache, page);
  cache->frames[at] = (struct frame){.page = page, .next = *bucket, .used = true};
  *bucket = at;
}

static void take_out(struct page_cache *cache, uint32_t at) {
  uint32_t *link = bucket_of(cache, cache->frames[at].page);
  while (*link != at) link = &cache->frames[*link].next;
  *link = cache->frames[at].next;
  cache->frames[at].used = false;
}

/* CLOCK: the hand goes round and takes the first frame that nobody holds and nobody has asked for
 * since it came by last.  Twice round finds one, unless all are pinned: NONE. */
static uint32_t make_room(struct page_cache *cache) {
  for (uint64_t step = 0; step < 2 * (uint64_t)cache->count; step++) {
    uint32_t at = cache->hand;
    struct frame *frame = &cache->frames[at];
    cache->hand = (at + 1) % cache->count;
    if (frame->used && frame->pins > 0) continue;
    if (frame->used && frame->referenced) {
      frame->referenced = false;
      continue;
    }
    if (frame->used) {
      take_out(cache, at);
      cache->stats.evictions++;
    }
    return at;
  }
  return NONE;
}

/* ---- reading --------------------------------------------------------------------------------- */

static unsigned char *bytes_of(const struct page_cache *cache, uint64_t frame) {
  return (unsigned char *)rf_arena_base(cache->arena) + frame * cache->page_size;
}

/*
 * Does all reads.  Whatever goes wrong with some, all that were submitted are waited for: until an
 * op has completed its frame belongs to the kernel.  0 or the first error.
 */
static int do_reads(struct page_cache *cache, unsigned count) {
  struct rf_completion done[DEPTH];
  unsigned sent = 0, answered = 0;
  int status = 0;
  while (answered < count) {
    /* As many as fit into the queue go with one call, which also waits: for all of them if they
     * fit, since nothing can be done with a part. */
    unsigned left = count - answered, wanted = left < DEPTH ? left : DEPTH, accepted;
    int n = rf_submit_and_wait(cache->queue, cache->reads + sent, count - sent, &accepted, done,
                               wanted, DEPTH, RF_FOREVER);
    if (n < 0) return n; /* another thread's cache: nothing was submitted, now or before */
    sent += accepted;
    answered += (unsigned)n;
    for (int i = 0; i < n; i++) {
      int error = done[i].status;
      /* The page was in the file when that was opened, so a short read is an error here. */
      if (error == 0 && done[i].bytes != (int64_t)cache->page_size) error = -EIO;
      if (status == 0) status = error;
    }
  }
  return status;
}

/* Pins the page, in a frame that it has or now gets.  *missing counts those that must be read. */
static int pin(struct page_cache *cache, uint64_t page, unsigned *missing, const void **data) {
  if (page >= cache->pages) return -EINVAL;
  uint32_t at = find(cache, page);
  if (at != NONE) {
    cache->stats.hits++;
  } else {
    at = make_room(cache);
    if (at == NONE) return -ENOBUFS;
    insert(cache, at, page);
    cache->reads[(*missing)++] =
        rf_op_read(cache->file, bytes_of(cache, at), cache->page_size, page * cache->page_size, at);
    cache->stats.misses++;
  }
  cache->frames[at].pins++;
  cache->frames[at].referenced = true;
  *data = bytes_of(cache, at);
  return 0;
}

int page_cache_get_many(struct page_cache *cache, const uint64_t *pages, unsigned count,
                        const void **data) {
  unsigned pinned = 0, missing = 0;
  int status = 0;
  while (pinned < count && status == 0) {
    status = pin(cache, pages[pinned], &missing, &data[pinned]);
    if (status == 0) pinned++;
  }
  if (status == 0) status = do_reads(cache, missing);
  if (status == 0) return 0;
  /* As it was before; what was to be read has nothing in it that could be kept. */
  page_cache_release_many(cache, pages, pinned);
  for (unsigned i = 0; i < missing; i++) take_out(cache, (uint32_t)cache->reads[i].user_data);
  return status;
}

void page_cache_release_many(struct page_cache *cache, const uint64_t *pages, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    uint32_t at = find(cache, pages[i]);
    if (at != NONE && cache->frames[at].pins > 0) cache->frames[at].pins--;
  }
}

uint64_t page_cache_pages(const struct page_cache *cache) {
  return cache->pages;
}

struct page_cache_stats page_cache_get_stats(const struct page_cache *cache) {
  return cache->stats;
}

/* ---- opening and closing --------------------------------------------------------------------- */

/* With O_DIRECT if a buffered look at the file says that it can be had: no trial and error. */
static int open_file(struct rf_engine *engine, struct page_cache *cache, const char *path) {
  int status = rf_file_open(engine, path, O_RDONLY, 0, &cache->file);
  if (status != 0) return status;
  const struct rf_file_info *info = rf_file_get_info(cache->file);
  cache->pages = info->size / cache->page_size;
  if (!info->direct_possible || cache->page_size % info->offset_align != 0 ||
      cache->page_size % info->memory_align != 0)
    return 0;
  struct rf_file *direct;
  status = rf_file_open(engine, path, O_RDONLY | O_DIRECT, 0, &direct);
  if (status != 0) return status;
  (void)rf_file_close(cache->file); /* no op is on it: it cannot fail */
  cache->file = direct;
  cache->stats.direct = true;
  return 0;
}

static int open_parts(struct rf_engine *engine, struct page_cache *cache, const char *path) {
  uint32_t buckets = 1;
  while (buckets < cache->count) buckets *= 2;
  cache->bucket_mask = buckets - 1;
  cache->buckets = malloc(buckets * sizeof(*cache->buckets));
  cache->frames = calloc(cache->count, sizeof(*cache->frames));
  cache->reads = calloc(cache->count, sizeof(*cache->reads));
  if (cache->buckets == NULL || cache->frames == NULL || cache->reads == NULL) return -ENOMEM;
  for (uint32_t i = 0; i < buckets; i++) cache->buckets[i] = NONE;

  int status = open_file(engine, cache, path);
  if (status != 0) return status;
  /* One piece of memory for all frames: aligned, and registered with the ring once and for all. */
  status = rf_arena_open(engine, cache->count * cache->page_size, 0, &cache->arena);
  if (status != 0) return status;
  struct rf_queue_options options;
  rf_queue_options_init(&options);
  options.depth = DEPTH;
  return rf_queue_open(engine, &options, &cache->queue);
}

int page_cache_open(struct rf_engine *engine, const char *path, size_t page_size, unsigned frames,
                    struct page_cache **opened) {
  if (page_size < 512 || page_size > 1048576 || (page_size & (page_size - 1)) != 0) return -EINVAL;
  if (frames < 1 || frames > 1048576) return -EINVAL;
  struct page_cache *cache = calloc(1, sizeof(*cache));
  if (cache == NULL) return -ENOMEM;
  cache->page_size = page_size;
  cache->count = frames;
  int status = open_parts(engine, cache, path);
  if (status != 0) {
    page_cache_close(cache);
    return status;
  }
  *opened = cache;
  return 0;
}

void page_cache_close(struct page_cache *cache) {
  if (cache == NULL) return;
  (void)rf_queue_close(cache->queue); /* first: with it no buffer is in use any more */
  rf_arena_close(cache->arena);
  (void)rf_file_close(cache->file);
  free(cache->reads);
  free(cache->frames);
  free(cache->buckets);
  free(cache);
}
