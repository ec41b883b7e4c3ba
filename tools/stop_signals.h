// SPDX-License-Identifier: Apache-2.0
/* SIGINT, SIGTERM and SIGHUP as a wish to stop: commands look at the flag between two steps, clean
 * up, and return TOOL_STOPPED. */
#ifndef RINGFALL_TOOLS_STOP_SIGNALS_H
#define RINGFALL_TOOLS_STOP_SIGNALS_H

#include <stdbool.h>

/* A signal that was ignored when the program started (nohup) stays ignored. */
void stop_signals_catch(void);

/* The number of the first signal that came, or 0. */
int stop_signal(void);

/* Waits until fd is ready for events, or cannot be waited for.  False: a signal came. */
bool stop_signal_or_ready(int fd, short events);

/* Ends the process by that signal, so that the shell sees how it ended. */
void stop_signals_die(void);

#endif
