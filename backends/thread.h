// SPDX-License-Identifier: Apache-2.0
/* Threads of the library's own. */
#ifndef RINGFALL_BACKENDS_THREAD_H
#define RINGFALL_BACKENDS_THREAD_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Starts a thread that takes no signals: those are for the program's own threads, and the SIGXFSZ
 * of a write past RLIMIT_FSIZE is for nobody: it stays pending there, and the write tells.
 *
 * `stack` is in bytes; 0, or where that is too little: the program's default.  0 or -errno: EAGAIN
 * where a limit of processes is reached (RLIMIT_NPROC, the cgroup's pids.max) or memory is short.
 */
int rf_thread_start(pthread_t *thread, size_t stack, void *(*run)(void *), void *context);

/*
 * The calling thread's number, which no other thread of the process has or had; never 0.  A
 * pthread_t will not do for telling threads apart: the next thread that is started often gets that
 * of one that has ended.
 *
 * The model of thread-local memory is set so that looking costs no call and allocates nothing, in a
 * shared library either.
 */
extern _Thread_local uintptr_t rf_thread_number __attribute__((tls_model("initial-exec")));
uintptr_t rf_thread_number_new(void);
static inline uintptr_t rf_thread_self(void) {
  return rf_thread_number != 0 ? rf_thread_number : rf_thread_number_new();
}

/* Whether one can be started, by starting one that ends at once: 0 or -errno. */
int rf_thread_try(void);

#endif
