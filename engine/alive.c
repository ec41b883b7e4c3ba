// SPDX-License-Identifier: Apache-2.0
/*
 * Whether this process is the one that opened an engine or a pool, or a child that was forked
 * since.
 *
 * Asked at every call, so it is one load: of a page that the kernel gives a child empty
 * (MADV_WIPEONFORK, Linux 4.14).  Where that is refused, by an older kernel, an emulator or a
 * sandbox, a handler of fork() empties the pages; children made by clone() itself go unnoticed
 * there.
 */
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/internal.h"

/* Fills a page of its own. */
struct page {
  uint32_t alive; /* first: what is handed out */
  bool listed;
  struct page *next, *prev;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the list */
static struct page *listed;                              /* those that nobody wipes for us */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void) {
  pthread_mutex_lock(&lock);
}

static void after_fork(void) {
  pthread_mutex_unlock(&lock);
}

static void in_child(void) {
  for (struct page *page = listed; page != NULL; page = page->next) page->alive = 0;
  pthread_mutex_unlock(&lock);
}

static void watch_forks(void) {
  (void)pthread_atfork(before_fork, after_fork, in_child);
}

static void enlist(struct page *page) {
  pthread_once(&once, watch_forks);
  pthread_mutex_lock(&lock);
  page->listed = true;
  page->next = listed;
  if (listed != NULL) listed->prev = page;
  listed = page;
  pthread_mutex_unlock(&lock);
}

static void delist(struct page *page) {
  pthread_mutex_lock(&lock);
  if (page->prev != NULL)
    page->prev->next = page->next;
  else
    listed = page->next;
  if (page->next != NULL) page->next->prev = page->prev;
  pthread_mutex_unlock(&lock);
}

uint32_t *rf_alive_open(void) {
  size_t size = (size_t)sysconf(_SC_PAGESIZE);
  struct page *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return NULL;
  page->alive = 1;
  if (madvise(page, size, MADV_WIPEONFORK) != 0) enlist(page);
  return &page->alive;
}

void rf_alive_close(uint32_t *alive) {
  struct page *page = (struct page *)(void *)alive;
  if (page == NULL) return;
  if (page->listed) delist(page);
  munmap(page, (size_t)sysconf(_SC_PAGESIZE));
}
