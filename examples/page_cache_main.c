// SPDX-License-Identifier: Apache-2.0
/*
 * Shows page_cache.h: makes a file whose every word tells where it belongs, gets pages in groups,
 * some of them much more often than others, and looks at every word of every page.
 */
#include "page_cache.h"

#include <errno.h>
#include <inttypes.h>
#include <ringfall/ringfall.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE   4096u
#define WORDS  (PAGE / sizeof(uint64_t))
#define GROUP  64u /* pages got at a time */
#define GROUPS 300u

static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 31)) * UINT64_C(0x9E3779B97F4A7C15);
  return x ^ (x >> 29);
}

static uint64_t word(uint64_t page, size_t i) {
  return mix(page * WORDS + i + 1);
}

static int fail(const char *what, enum rf_status_source source, int status) {
  char text[RF_TEXT_SIZE];
  rf_status_text(source, status, text, sizeof(text));
  fprintf(stderr, "page_cache_main: %s: %s\n", what, text);
  return 1;
}

/* 0 or -errno.  "x": a file that is there already is not overwritten. */
static int make_file(const char *path, uint64_t pages) {
  FILE *file = fopen(path, "wbx");
  if (file == NULL) return -errno;
  int status = 0;
  for (uint64_t page = 0; page < pages && status == 0; page++) {
    uint64_t words[WORDS];
    for (size_t i = 0; i < WORDS; i++) words[i] = word(page, i);
    if (fwrite(words, sizeof(words), 1, file) != 1) status = -errno;
  }
  if (fclose(file) != 0 && status == 0) status = -errno;
  if (status != 0) unlink(path);
  return status;
}

/* Nine of ten go to a tenth of the pages. */
static uint64_t choose(uint64_t number, uint64_t pages) {
  uint64_t random = mix(number + 1), hot = pages / 10 + 1;
  return random % 10 == 0 ? (random >> 8) % pages : (random >> 8) % hot;
}

static bool is_right(const void *data, uint64_t page) {
  const uint64_t *words = data;
  for (size_t i = 0; i < WORDS; i++)
    if (words[i] != word(page, i)) return false;
  return true;
}

static int use(struct page_cache *cache) {
  for (uint64_t group = 0; group < GROUPS; group++) {
    uint64_t pages[GROUP];
    const void *data[GROUP];
    for (unsigned i = 0; i < GROUP; i++)
      pages[i] = choose(group * GROUP + i, page_cache_pages(cache));
    int status = page_cache_get_many(cache, pages, GROUP, data);
    if (status == -ENOBUFS) {
      fprintf(stderr, "page_cache_main: there are too few frames for %u pages at a time\n", GROUP);
      return 1;
    }
    if (status != 0) return fail("pages", RF_FROM_OP, status);
    for (unsigned i = 0; i < GROUP; i++) {
      if (is_right(data[i], pages[i])) continue;
      fprintf(stderr, "page_cache_main: page %" PRIu64 " is wrong\n", pages[i]);
      return 1;
    }
    page_cache_release_many(cache, pages, GROUP);
  }
  struct page_cache_stats stats = page_cache_get_stats(cache);
  printf("%" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64 " evictions, %s; all data right\n",
         stats.hits, stats.misses, stats.evictions, stats.direct ? "O_DIRECT" : "buffered");
  return 0;
}

static int run(const char *path, unsigned frames) {
  struct rf_engine *engine;
  struct page_cache *cache;
  int status = rf_engine_open(&engine, NULL);
  if (status != 0) return fail("engine", RF_FROM_ENGINE, status);
  int result = 1;
  status = page_cache_open(engine, path, PAGE, frames, &cache);
  if (status == 0) {
    result = use(cache);
    page_cache_close(cache);
  } else {
    fail(path, RF_FROM_FILE, status);
  }
  status = rf_engine_close(engine);
  return status == 0 ? result : fail("engine", RF_FROM_ENGINE, status);
}

int main(int argc, char **argv) {
  long pages = argc > 2 ? atol(argv[2]) : 10000, frames = argc > 3 ? atol(argv[3]) : 2000;
  if (argc < 2 || argc > 4 || pages < 1 || pages > 100000000 || frames < 1 || frames > 1048576) {
    fprintf(stderr, "usage: page_cache_main NEW_FILE [PAGES [FRAMES]]\n");
    return 2;
  }
  int status = make_file(argv[1], (uint64_t)pages);
  if (status != 0) {
    fprintf(stderr, "page_cache_main: %s: %s\n", argv[1], strerror(-status));
    return 1;
  }
  int result = run(argv[1], (unsigned)frames);
  unlink(argv[1]);
  return fflush(stdout) == 0 ? result : 1;
}
