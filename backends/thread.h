// SPDX-License-Identifier: Apache-2.0
/* Threads of the library's own. */
#ifndef RINGFALL_BACKENDS_THREAD_H
#define RINGFALL_BACKENDS_THREAD_H

#include <pthread.h>
#include <stddef.h>

/*
 * Starts a thread that takes no signals: those are for the program's own threads, and the SIGXFSZ
 * of a write past RLIMIT_FSIZE is for nobody: it stays pending there, and the write tells.
 *
 * `stack` is in bytes; 0: the program's default.  0 or -errno: EAGAIN where a limit of processes is
 * reached (RLIMIT_NPROC, the cgroup's pids.max) or memory is short.
 */
int rf_thread_start(pthread_t *thread, size_t stack, void *(*run)(void *), void *context);

/* Whether one can be started, by starting one that ends at once: 0 or -errno. */
int rf_thread_try(void);

#endif
