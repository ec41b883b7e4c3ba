// SPDX-License-Identifier: Apache-2.0
#include "backends/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>

#define LEAST_STACK (64u * 1024u)

static int start(pthread_t *thread, size_t stack, void *(*run)(void *), void *context) {
  pthread_attr_t attributes;
  sigset_t all, before;
  int error = pthread_attr_init(&attributes);
  if (error != 0) return -error;
  if (stack != 0) (void)pthread_attr_setstacksize(&attributes, stack);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  error = pthread_create(thread, &attributes, run, context);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return -error;
}

/* EINVAL: the thread-local variables of the program, which glibc takes from the stack, leave too
 * little of it. */
int rf_thread_start(pthread_t *thread, size_t stack, void *(*run)(void *), void *context) {
  int status = start(thread, stack, run, context);
  return status == -EINVAL && stack != 0 ? start(thread, 0, run, context) : status;
}

_Thread_local uintptr_t rf_thread_number;

uintptr_t rf_thread_number_new(void) {
  static _Atomic uintptr_t last;
  rf_thread_number = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
  return rf_thread_number;
}

static void *nothing(void *context) {
  return context;
}

int rf_thread_try(void) {
  pthread_t thread;
  int status = rf_thread_start(&thread, LEAST_STACK, nothing, NULL);
  if (status == 0) pthread_join(thread, NULL);
  return status;
}
