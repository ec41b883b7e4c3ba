// SPDX-License-Identifier: Apache-2.0
/*
 * A cache of a file's pages, for reading: by number, many at a time.  What is missing is read with
 * all reads in flight together, into a fixed number of frames; CLOCK decides what has to go.
 *
 * Threads: a cache belongs to the thread that uses it, as its queue does.  For several threads take
 * several caches, each with the pages whose number modulo the threads is its own.
 */
#ifndef PAGE_CACHE_H
#define PAGE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rf_engine;
struct page_cache;

/*
 * page_size: a power of two from 512 bytes to 1 MiB; frames: 1 to 1048576.  The file is read past
 * the kernel's page cache (O_DIRECT) where the file system and the page size allow that.
 * -EINVAL: a size or number out of range.  -errno of opening the file, -ENOMEM.
 */
int page_cache_open(struct rf_engine *engine, const char *path, size_t page_size, unsigned frames,
                    struct page_cache **cache);

/* Pages may be pinned or not: all are given back.  NULL is fine. */
void page_cache_close(struct page_cache *cache);

/* Whole pages of the file, as of when it was opened.  Bytes behind the last one are out of reach.
 */
uint64_t page_cache_pages(const struct page_cache *cache);

/*
 * Gets pages, the same one perhaps several times, and pins them: data[i] points to page pages[i]
 * until it is released, as often as it was got.  All or none:
 * -EINVAL: no such page.  -ENOBUFS: too many are pinned.  -EIO: the file has become shorter.
 * Another -errno: of reading.  Then no pin was added, and it may be called again.
 */
int page_cache_get_many(struct page_cache *cache, const uint64_t *pages, unsigned count,
                        const void **data);

/* Takes back one pin of each.  They stay in the cache until their frames are needed. */
void page_cache_release_many(struct page_cache *cache, const uint64_t *pages, unsigned count);

struct page_cache_stats {
  uint64_t hits;   /* pages that were there */
  uint64_t misses; /* and those that were read for it */
  uint64_t evictions;
  bool direct; /* O_DIRECT is in use */
};
struct page_cache_stats page_cache_get_stats(const struct page_cache *cache);

#ifdef __cplusplus
}
#endif
#endif
