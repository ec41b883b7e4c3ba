// SPDX-License-Identifier: Apache-2.0
/* The handler only sets a flag; all cleaning up is ordinary code. */
#include "stop_signals.h"

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

void stop_signals_die(void) {
  if (caught == 0) return;
  signal((int)caught, SIG_DFL);
  raise((int)caught);
}
