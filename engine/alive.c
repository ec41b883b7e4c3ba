// SPDX-License-Identifier: Apache-2.0
/*
 * Whether this process is the one that opened an engine or a pool, or a child that was forked
 * since.
 *
 * Asked at every call, so it is one load: of a page that the kernel gives a child empty
 * (MADV_WIPEONFORK, Linux 4.14).  Older kernels, emulators and sandboxes refuse that or only say
 * that they do it, so a handler of fork() empties the pages too.  The children of a bare clone()
 * are left to the kernel.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/internal.h"

/* Not in its page, which may be empty by now. */
struct watched {
  uint32_t *alive;
  struct watched *next;
};

static struct watched *first; /* of few */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void) {
  pthread_mutex_lock(&lock);
}

static void after_fork(void) {
  pthread_mutex_unlock(&lock);
}

static void in_child(void) {
  for (struct watched *watched = first; watched != NULL; watched = watched->next)
    *watched->alive = 0;
  pthread_mutex_unlock(&lock);
}

static void watch_forks(void) {
  (void)pthread_atfork(before_fork, after_fork, in_child);
}

static void watch(struct watched *watched) {
  pthread_once(&once, watch_forks);
  pthread_mutex_lock(&lock);
  watched->next = first;
  first = watched;
  pthread_mutex_unlock(&lock);
}

static void forget(const uint32_t *alive) {
  pthread_mutex_lock(&lock);
  struct watched **at = &first;
  while ((*at)->alive != alive) at = &(*at)->next;
  struct watched *watched = *at;
  *at = watched->next;
  pthread_mutex_unlock(&lock);
  free(watched);
}

uint32_t *rf_alive_open(void) {
  size_t size = (size_t)sysconf(_SC_PAGESIZE);
  struct watched *watched = malloc(sizeof(*watched));
  if (watched == NULL) return NULL;
  void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    free(watched);
    return NULL;
  }
  (void)madvise(page, size, MADV_WIPEONFORK);
  watched->alive = page;
  *watched->alive = 1;
  watch(watched);
  return watched->alive;
}

void rf_alive_close(uint32_t *alive) {
  if (alive == NULL) return;
  forget(alive);
  munmap(alive, (size_t)sysconf(_SC_PAGESIZE));
}
