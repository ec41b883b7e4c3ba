// SPDX-License-Identifier: Apache-2.0
/* What the parts of `ringfall tune` share: options, the file, settings and what was measured. */
#ifndef RINGFALL_TOOLS_TUNE_H
#define RINGFALL_TOOLS_TUNE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <ringfall/ringfall.h>

#include "backend_choice.h"
#include "engine/new_file.h"
#include "pattern.h"
#include "tool.h"

/* ---- options --------------------------------------------------------------------------------- */

enum tune_side { TUNE_READ, TUNE_WRITE, TUNE_SIDES };
const char *tune_side_name(enum tune_side side); /* "read", "write" */

struct tune_options {
  const char *directory;
  uint64_t size;
  double seconds;
  bool sides[TUNE_SIDES];
  struct backend_choice choice;
  uint64_t seed;
  const char *output;    /* NULL: not asked for, as the next two */
  const char *deepspeed; /* "-": standard output */
  const char *report;
  bool json;
  bool help;
};

/* ---- settings and what they reached ---------------------------------------------------------- */

/* What is searched: a backend and the options of a pool. */
struct tune_point {
  enum rf_backend_id backend;
  uint64_t block;
  unsigned depth;
  unsigned workers;
  bool single_submit;
  bool overlap;
};

static inline uint64_t tune_in_flight(const struct tune_point *point) {
  return point->block * point->depth * point->workers;
}
bool tune_same(const struct tune_point *one, const struct tune_point *other);

struct tune_figures {
  double mib_per_second;
  double cpu_per_gib; /* seconds of the whole process */
  double p50_us;      /* of a block, from its submission to its completion */
  double p99_us;
};

#define TUNE_TRIALS     256u
#define TUNE_CANDIDATES 1024u

struct tune_candidate {
  struct tune_point point;
  unsigned trials; /* that are kept in `trial`: the first TUNE_TRIALS */
  struct tune_figures trial[TUNE_TRIALS];
  unsigned curves, late; /* of them: the first for the curves, the first of the last part */
  int failed;            /* no pool could be opened with it: what rf_pool_open() answered */
};

/* Disks become slower and faster by the minute, so only what was tried in the same part of the
 * search can be compared. */
enum tune_part {
  TUNE_ALL,
  TUNE_CURVES, /* while the curves were drawn */
  TUNE_LATE,   /* in the qualification and the final */
};
struct tune_summary {
  struct tune_figures median;
  double least, most; /* MiB/s */
  unsigned trials;
};
/* Of that part; of all where it has no trial in it. */
struct tune_summary tune_summarize(const struct tune_candidate *candidate, enum tune_part part);
double tune_median(const struct tune_candidate *candidate, enum tune_part part); /* MiB/s; or -1 */

/* The alternating rounds at the end.  The first two are the best of the qualification, the third
 * the defaults, if those are none of them. */
#define TUNE_FINALISTS 3u
#define TUNE_ROUNDS    15u
struct tune_final {
  unsigned finalists; /* 1 to 3 */
  unsigned candidate[TUNE_FINALISTS];
  unsigned rounds; /* in which each had its turn */
  double mib_per_second[TUNE_FINALISTS][TUNE_ROUNDS];
  unsigned winner; /* of the finalists */
  bool tie;        /* it was taken for its CPU time, not because it was faster */
};

/* All about one direction. */
struct tune_direction {
  enum tune_side side;
  struct tune_candidate *candidates;
  unsigned count;
  unsigned trials;            /* all of them */
  unsigned defaults;          /* index of the library's defaults on its own choice of a backend */
  struct tune_point leader;   /* around which the curves were drawn, but for */
  struct tune_point by_block; /* that over the block size, which is less deep */
  struct tune_final final;
  uint64_t verified_bytes;
  bool direct; /* past the page cache */
};
const struct tune_candidate *tune_winner(const struct tune_direction *direction);
const struct tune_candidate *tune_finalist(const struct tune_direction *direction, unsigned index);
bool tune_is_finalist(const struct tune_direction *direction,
                      const struct tune_candidate *candidate);
/* "chosen", "runner-up", "third" or "defaults". */
const char *tune_role(const struct tune_direction *direction, unsigned finalist);
/* Rounds that the winner won against this finalist, and the ratio to it in each, in order. */
unsigned tune_won(const struct tune_final *final, unsigned against, double *ratios);
/* The candidate with this point, or NULL. */
const struct tune_candidate *tune_find(const struct tune_direction *direction,
                                       const struct tune_point *point);
/* The best candidate of a backend, or NULL: among those that qualified for the final, else among
 * those with several trials, else among all. */
const struct tune_candidate *tune_best_of(const struct tune_direction *direction,
                                          enum rf_backend_id backend);

/* The values that are tried; see tune_search.c. */
struct tune_values {
  const uint64_t *blocks;
  const unsigned *depths;
  const unsigned *workers;
  unsigned block_count, depth_count, worker_count;
};
const struct tune_values *tune_values(void);

/* ---- the file and the run -------------------------------------------------------------------- */

struct tune_file {
  struct rf_new_file new_file; /* without a name from the start: nothing can be left behind */
  struct rf_file_info info;
  uint64_t size;
  struct pattern pattern;
  uint32_t *versions; /* of each MiB */
  uint32_t version;   /* the last that was given */
  unsigned char *buffer;
  uint64_t window; /* bytes of a trial: of the buffer in use, and of the file */
  uint64_t next;   /* where the next trial's window begins */
};
#define TUNE_UNIT         (UINT64_C(1) << 20)
#define TUNE_PIECES       4u /* transfers at the same time in a trial */
#define TUNE_SIZE_LEAST   (TUNE_PIECES * TUNE_UNIT)
#define TUNE_WINDOW       (UINT64_C(64) << 20) /* at most */
#define TUNE_WINDOW_LEAST (UINT64_C(32) << 20) /* what the defaults have in flight */

struct tune {
  struct tune_options options;
  struct tune_file file;
  struct engine_log logs[RF_BACKENDS];
  struct rf_engine *engines[RF_BACKENDS]; /* NULL: not searched */
  struct rf_file *files[RF_BACKENDS];
  enum rf_backend_id usual; /* the library's own choice among them */
  struct rf_limits limits;
  uint64_t begun_ns, limit_ns; /* limit: a moment */
  uint64_t slice_ns;           /* of a trial */
  double trial_ns;             /* what a trial costs with all that is around it: a mean */
  uint64_t random;
  struct tune_direction directions[TUNE_SIDES];
  char why_not[RF_BACKENDS][200]; /* of those that do not work here */
};

extern const char tune_command_name[];

/* Makes the file, empty, where there is room for it; and fills it, within a quarter of the time.
 * TOOL_OK or a line; tune_file_close() always. */
enum tool_exit tune_file_open(struct tune *tune);
enum tool_exit tune_file_fill(struct tune *tune);
void tune_file_close(struct tune_file *file);
/* Sets the window: about that many bytes, in whole pieces. */
void tune_file_set_window(struct tune_file *file, double bytes);
/* Moves to the next window and returns where it begins. */
uint64_t tune_file_next(struct tune_file *file);
/* Compares with pread(), which is not what is being tested.  TOOL_NOT_VERIFIED with a line. */
enum tool_exit tune_file_check(struct tune *tune, uint64_t offset, uint64_t length);

/*
 * One trial of a candidate, which is kept in it, for tune->slice_ns or one pass over the window,
 * whatever is longer.  All data read is compared, of what was written a sample.  TOOL_OK also if
 * no pool could be opened: the candidate says so.  Else a line was printed, or TOOL_STOPPED.
 */
enum tool_exit tune_trial(struct tune *tune, struct tune_direction *direction, unsigned candidate,
                          struct tune_figures *figures);

/* Searches one direction until then.  `other` (may be NULL) was searched before: what was good for
 * DeepSpeed there is tried here as well. */
enum tool_exit tune_search(struct tune *tune, enum tune_side side, uint64_t until_ns,
                           const struct tune_direction *other);

/* ---- the answers ----------------------------------------------------------------------------- */

struct tune_answers {
  struct rf_config config;
  char note[512];
  struct tune_point deepspeed;
  bool deepspeed_measured; /* on libaio, which DeepSpeed uses */
};
void tune_answer(const struct tune *tune, struct tune_answers *answers);

/* Text of the configuration, and of DeepSpeed's section; to be freed; NULL for want of memory. */
char *tune_config_text(const struct tune_answers *answers);
char *tune_deepspeed_text(const struct tune_answers *answers);

void tune_print_table(const struct tune *tune, const struct tune_answers *answers);
enum tool_exit tune_print_json(const struct tune *tune, const struct tune_answers *answers);
/* A page for a browser, complete in itself. */
void tune_print_page(FILE *out, const struct tune *tune, const struct tune_answers *answers);

#endif
