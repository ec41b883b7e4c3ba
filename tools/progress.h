// SPDX-License-Identifier: Apache-2.0
/* A progress bar on stderr: only on a terminal, only for what takes over a second.  There is one,
 * as there is one stderr; every message of tool_fail() erases it first. */
#ifndef RINGFALL_TOOLS_PROGRESS_H
#define RINGFALL_TOOLS_PROGRESS_H

#include <stdint.h>

/* The second begins now. */
void progress_start(void);

/* Cheap when there is nothing to draw: may be called at every step. */
void progress_show(const char *what, uint64_t done, uint64_t total);

/* Erases the bar; may be shown again afterwards. */
void progress_erase(void);

#endif
