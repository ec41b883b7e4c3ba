// SPDX-License-Identifier: Apache-2.0
/* A task in a forked child, for what may kill the process that does it. */
#ifndef RINGFALL_PROBE_CHILD_H
#define RINGFALL_PROBE_CHILD_H

/* How a child ended. */
struct rf_child_end {
  int error;  /* errno of fork, positive; 0: there was a child */
  int signal; /* what killed it; 0: it ended by itself, or nobody can say */
};

/*
 * Runs task(context) in a forked child and waits for its end.  What the task finds out has to be
 * left in shared memory.  A child that takes longer than 20 seconds is killed.
 */
struct rf_child_end rf_run_in_child(void (*task)(void *context), void *context);

#endif
