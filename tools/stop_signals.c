// SPDX-License-Identifier: Apache-2.0
/* The handler only sets a flag; all cleaning up is ordinary code. */
#include "stop_signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

static volatile sig_atomic_t caught;

static void remember(int number) {
  if (caught == 0) caught = number;
}

void stop_signals_catch(void) {
  static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
  for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
    struct sigaction action;
    if (sigaction(numbers[i], NULL, &action) != 0 || action.sa_handler == SIG_IGN) continue;
    memset(&action, 0, sizeof(action));
    action.sa_handler = remember;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(numbers[i], &action, NULL);
  }
}

int stop_signal(void) {
  return (int)caught;
}

/* Not for ever at a time: a signal may come after it was looked for. */
bool stop_signal_or_ready(int fd, short events) {
  struct pollfd wanted = {.fd = fd, .events = events};
  while (stop_signal() == 0) {
    const int count = poll(&wanted, 1, 100);
    if (count > 0 || (count < 0 && errno != EINTR)) return true;
  }
  return false;
}

void stop_signals_die(void) {
  if (caught == 0) return;
  signal((int)caught, SIG_DFL);
  raise((int)caught);
}
