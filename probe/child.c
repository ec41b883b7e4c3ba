// SPDX-License-Identifier: Apache-2.0
/*
 * A task in a forked child.
 *
 * fork() and not clone(): its handlers keep malloc usable in the child of a program with threads,
 * which backends need.  The price is that the program may see a SIGCHLD, and that a wait() of its
 * own may take the child's status; therefore nothing depends on the status but the wording.
 */
#include "probe/child.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_NS    500000
#define PAUSES_MOST 40000 /* 20 seconds */

/* No core file, and no end that outlives the parent's. */
static void become_expendable(void) {
  (void)prctl(PR_SET_DUMPABLE, 0);
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static struct rf_child_end end_of(int status) {
  return (struct rf_child_end){.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0};
}

static struct rf_child_end wait_for(pid_t child) {
  struct timespec pause = {0, PAUSE_NS};
  int status = 0;
  for (int i = 0; i < PAUSES_MOST; i++) {
    pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) return end_of(status);
    if (ended < 0 && errno != EINTR) return (struct rf_child_end){0}; /* somebody else took it */
    nanosleep(&pause, NULL);
  }
  kill(child, SIGKILL);
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return end_of(status);
}

struct rf_child_end rf_run_in_child(void (*task)(void *context), void *context) {
  pid_t child = fork();
  if (child < 0) return (struct rf_child_end){.error = errno};
  if (child > 0) return wait_for(child);
  become_expendable();
  task(context);
  _exit(0);
}
