// SPDX-License-Identifier: Apache-2.0
/* A progress bar.  Only '\r' and spaces, which every terminal understands. */
#include "progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "clock.h"

#define SHOW_AFTER_NS UINT64_C(1000000000)
#define REDRAW_NS     UINT64_C(100000000)
#define BAR           30u
#define COLUMNS_MOST  79u

static struct {
  bool terminal;
  unsigned columns; /* shown now; 0 = nothing */
  uint64_t started_ns;
  uint64_t drawn_ns;
} progress;

void progress_start(void) {
  progress.terminal = isatty(STDERR_FILENO) == 1;
  progress.started_ns = tool_now_ns();
}

/* At most so many columns: a longer line would wrap and could not be erased. */
static unsigned room(void) {
  struct winsize size;
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return COLUMNS_MOST;
  return size.ws_col <= COLUMNS_MOST ? size.ws_col - 1u : COLUMNS_MOST;
}

static void draw(const char *what, uint64_t done, uint64_t total) {
  double share = total > 0 ? (double)done / (double)total : 1.0;
  if (share > 1.0) share = 1.0;
  char bar[BAR + 1];
  const unsigned full = (unsigned)(share * BAR);
  memset(bar, '#', full);
  memset(bar + full, '.', BAR - full);
  bar[BAR] = '\0';
  char line[COLUMNS_MOST + 1];
  const unsigned percent = (unsigned)(share * 100), most = room();
  int length = snprintf(line, sizeof(line), "%.30s [%s] %3u %%", what, bar, percent);
  if (length > (int)most)
    length = snprintf(line, most + 1, "%3u %% %.30s", percent, what); /* cut off, if need be */
  if (length < 0) return;
  const unsigned columns = (unsigned)strlen(line);
  const unsigned blank = progress.columns > columns ? progress.columns - columns : 0;
  fprintf(stderr, "\r%s%*s", line, (int)blank, "");
  fflush(stderr);
  progress.columns = columns;
}

void progress_show(const char *what, uint64_t done, uint64_t total) {
  if (!progress.terminal) return;
  const uint64_t now = tool_now_ns();
  if (now - progress.started_ns < SHOW_AFTER_NS || now - progress.drawn_ns < REDRAW_NS) return;
  progress.drawn_ns = now;
  draw(what, done, total);
}

void progress_erase(void) {
  if (progress.columns == 0) return;
  fprintf(stderr, "\r%*s\r", (int)progress.columns, "");
  fflush(stderr);
  progress.columns = 0;
}
