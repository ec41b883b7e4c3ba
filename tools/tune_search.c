// SPDX-License-Identifier: Apache-2.0
/*
 * The search of one direction, in four parts, each with a share of the time:
 *
 *   screening  settings drawn at random from the whole grid, alike many of each backend
 *   halving    the better half goes on with twice as many trials, until few are left
 *   curves     around the best: depth and block size on each backend, then its other options
 *   final      the best two and the defaults in alternating rounds, which decide
 *
 * Trials of a round are in random order, so that a disk that becomes slower or faster meanwhile
 * favours nobody, and medians are compared.  The best of many noisy figures is partly luck: hence
 * the final, whose figures nobody was chosen by.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "progress.h"
#include "tune.h"

#define SCREEN_MOST   256u
#define SCREEN_LEAST  4u
#define HALVING_SHARE 0.45 /* of the time: the screening with it */
#define CURVES_SHARE  0.78 /* all up to the end of the curves */
#define FINAL_SHARE   0.97
#define CURVE_PASSES  3u
#define SLICES        400.0 /* a trial takes about the time / SLICES */
#define SLICE_LEAST   10e6
#define SLICE_MOST    500e6

static const uint64_t blocks[] = {65536,   131072,  262144,  524288,
                                  1048576, 2097152, 4194304, 8388608};
static const unsigned depths[] = {1, 2, 4, 8, 16, 32, 64, 128};
static const unsigned workers[] = {1, 2, 4, 8, 16};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const struct tune_values *tune_values(void) {
  static struct tune_values values = {blocks, depths, workers, COUNT(blocks), COUNT(depths), 0};
  const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  values.worker_count = cpus >= 16 ? 5 : cpus >= 8 ? 4 : 3;
  return &values;
}

/* ---- candidates ------------------------------------------------------------------------------ */

struct search {
  struct tune *tune;
  struct tune_direction *direction;
  uint64_t begun_ns, until_ns;
  unsigned list[TUNE_CANDIDATES]; /* indices: of the round */
  unsigned listed;
};

static uint64_t moment(const struct search *search, double share) {
  return search->begun_ns + (uint64_t)((double)(search->until_ns - search->begun_ns) * share);
}

/* With more in flight than a trial moves, its depth would never be reached. */
static bool can_be_tried(const struct tune *tune, const struct tune_point *point) {
  return tune->engines[point->backend] != NULL && tune_in_flight(point) <= tune->file.window;
}

/* The index of the candidate with this point, which may be a new one; TUNE_CANDIDATES: no room. */
static unsigned candidate_of(struct tune_direction *direction, const struct tune_point *point) {
  for (unsigned i = 0; i < direction->count; i++)
    if (tune_same(&direction->candidates[i].point, point)) return i;
  if (direction->count == TUNE_CANDIDATES) return TUNE_CANDIDATES;
  direction->candidates[direction->count].point = *point;
  return direction->count++;
}

/* Puts it on the list, once. */
static void enlist(struct search *search, const struct tune_point *point) {
  if (!can_be_tried(search->tune, point)) return;
  const unsigned index = candidate_of(search->direction, point);
  for (unsigned i = 0; i < search->listed; i++)
    if (search->list[i] == index) return;
  if (index < TUNE_CANDIDATES) search->list[search->listed++] = index;
}

static void shuffle(struct search *search) {
  for (unsigned i = search->listed; i > 1; i--) {
    const unsigned j = (unsigned)(pattern_random(&search->tune->random) % i);
    const unsigned other = search->list[j];
    search->list[j] = search->list[i - 1];
    search->list[i - 1] = other;
  }
}

/* ---- trials ---------------------------------------------------------------------------------- */

static bool time_left(const struct search *search, uint64_t until) {
  return (double)tool_now_ns() + search->tune->trial_ns <= (double)until;
}

static void show(const struct search *search) {
  const struct tune *tune = search->tune;
  const uint64_t now = tool_now_ns();
  const uint64_t left = tune->limit_ns > now ? tune->limit_ns - now : 0;
  char what[32];
  snprintf(what, sizeof(what), "tuning %s, %u s left", tune_side_name(search->direction->side),
           (unsigned)((left + 999999999) / 1000000000));
  progress_show(what, now - tune->begun_ns, tune->limit_ns - tune->begun_ns);
}

static enum tool_exit try_one(struct search *search, unsigned index, struct tune_figures *figures) {
  show(search);
  return tune_trial(search->tune, search->direction, index, figures);
}

/* A trial of each on the list, in random order, while there is time. */
static enum tool_exit try_list(struct search *search, uint64_t until) {
  struct tune_figures figures;
  enum tool_exit status = TOOL_OK;
  shuffle(search);
  for (unsigned i = 0; i < search->listed && status == TOOL_OK && time_left(search, until); i++)
    status = try_one(search, search->list[i], &figures);
  return status;
}

/* ---- screening and halving ------------------------------------------------------------------- */

static struct tune_point random_point(struct tune *tune, enum rf_backend_id backend) {
  const struct tune_values *values = tune_values();
  struct tune_point point = {.backend = backend};
  point.block = values->blocks[pattern_random(&tune->random) % values->block_count];
  point.depth = values->depths[pattern_random(&tune->random) % values->depth_count];
  point.workers = values->workers[pattern_random(&tune->random) % values->worker_count];
  const uint64_t coins = pattern_random(&tune->random);
  point.single_submit = coins % 4 == 0; /* both cost more than they gain, as a rule */
  point.overlap = coins / 4 % 4 != 0;
  return point;
}

/* As many as can be halved down to two in that time: each round costs about the same. */
static unsigned screen_size(const struct search *search, uint64_t until) {
  const double now = (double)tool_now_ns();
  const double trials = ((double)until - now) / search->tune->trial_ns;
  unsigned size = SCREEN_LEAST;
  unsigned rounds = 2;
  while (size < SCREEN_MOST && 2.0 * size * (rounds + 1) <= trials) {
    size *= 2;
    rounds++;
  }
  return size;
}

static struct tune_point defaults_on(enum rf_backend_id backend) {
  struct rf_pool_options usual;
  rf_pool_options_init(&usual);
  return (struct tune_point){.backend = backend,
                             .block = usual.block_size,
                             .depth = usual.queue_depth,
                             .workers = usual.workers,
                             .single_submit = usual.single_submit,
                             .overlap = usual.overlap_events};
}

/* What was good in the other direction: the winner, and the best for DeepSpeed. */
static void enlist_from(struct search *search, const struct tune_direction *other) {
  if (other == NULL) return;
  const struct tune_candidate *best = tune_best_of(other, RF_BACKEND_LIBAIO);
  enlist(search, &tune_winner(other)->point);
  if (best != NULL) enlist(search, &best->point);
}

static void draw(struct search *search, unsigned size) {
  struct tune *tune = search->tune;
  for (int b = 0; b < RF_BACKENDS; b++) {
    const struct tune_point usual = defaults_on((enum rf_backend_id)b);
    enlist(search, &usual);
  }
  for (unsigned tries = 0; search->listed < size && tries < 20 * size; tries++) {
    const struct tune_point point = random_point(tune, (enum rf_backend_id)(tries % RF_BACKENDS));
    enlist(search, &point);
  }
  search->direction->screened = search->listed;
}

/* The better ones first; qsort() has no context. */
static const struct tune_direction *sorted;
static int compare(const void *one, const void *other) {
  const double a = tune_median(&sorted->candidates[*(const unsigned *)one]);
  const double b = tune_median(&sorted->candidates[*(const unsigned *)other]);
  return (a < b) - (a > b);
}

static void keep_better_half(struct search *search) {
  sorted = search->direction;
  qsort(search->list, search->listed, sizeof(search->list[0]), compare);
  search->listed = (search->listed + 1) / 2;
}

static enum tool_exit screen_and_halve(struct search *search, const struct tune_direction *other) {
  const uint64_t until = moment(search, HALVING_SHARE);
  search->listed = 0;
  enlist_from(search, other);
  draw(search, screen_size(search, until));
  enum tool_exit status = TOOL_OK;
  for (unsigned repeats = 1; search->listed > 2 && status == TOOL_OK; repeats *= 2) {
    for (unsigned i = 0; i < repeats && status == TOOL_OK; i++) status = try_list(search, until);
    keep_better_half(search);
    if (!time_left(search, until)) break;
  }
  return status;
}

/* ---- the order at the end -------------------------------------------------------------------- */

/* The best that is not `except`: among those with several trials, if there are any. */
static unsigned best_but(const struct tune_direction *direction, unsigned except) {
  unsigned best = direction->count;
  for (unsigned least = 2; least > 0 && best == direction->count; least--)
    for (unsigned i = 0; i < direction->count; i++) {
      const struct tune_candidate *one = &direction->candidates[i];
      if (i == except || one->trials < least) continue;
      if (best == direction->count || tune_median(one) > tune_median(&direction->candidates[best]))
        best = i;
    }
  return best;
}

/* ---- curves ---------------------------------------------------------------------------------- */

static void enlist_curves(struct search *search, const struct tune_point *leader) {
  const struct tune_values *values = tune_values();
  search->listed = 0;
  for (int b = 0; b < RF_BACKENDS; b++) {
    struct tune_point point = *leader;
    point.backend = (enum rf_backend_id)b;
    for (unsigned i = 0; i < values->depth_count; i++, point.depth = leader->depth) {
      point.depth = values->depths[i];
      enlist(search, &point);
    }
    for (unsigned i = 0; i < values->block_count; i++, point.block = leader->block) {
      point.block = values->blocks[i];
      enlist(search, &point);
    }
  }
  struct tune_point point = *leader;
  for (unsigned i = 0; i < values->worker_count; i++, point.workers = leader->workers) {
    point.workers = values->workers[i];
    enlist(search, &point);
  }
  point.single_submit = !leader->single_submit;
  enlist(search, &point);
  point = *leader;
  point.overlap = !leader->overlap;
  enlist(search, &point);
}

static enum tool_exit draw_curves(struct search *search) {
  struct tune_direction *direction = search->direction;
  const uint64_t until = moment(search, CURVES_SHARE);
  direction->leader = direction->candidates[best_but(direction, direction->count)].point;
  enlist_curves(search, &direction->leader);
  enum tool_exit status = TOOL_OK;
  for (unsigned i = 0; i < CURVE_PASSES && status == TOOL_OK && time_left(search, until); i++)
    status = try_list(search, until);
  return status;
}

/* ---- the final ------------------------------------------------------------------------------- */

static void choose_finalists(const struct tune_direction *direction, struct tune_final *final) {
  const unsigned best = best_but(direction, direction->count);
  const unsigned next = best_but(direction, best);
  final->finalists = 0;
  final->candidate[final->finalists++] = best;
  if (next < direction->count) final->candidate[final->finalists++] = next;
  if (best != direction->defaults && next != direction->defaults)
    final->candidate[final->finalists++] = direction->defaults;
}

static double median_of(const double *values, unsigned count) {
  double copy[TUNE_TRIALS];
  for (unsigned i = 0; i < count; i++) { /* sorted as it is filled */
    unsigned at = i;
    for (; at > 0 && copy[at - 1] > values[i]; at--) copy[at] = copy[at - 1];
    copy[at] = values[i];
  }
  if (count == 0) return -1;
  return count % 2 == 1 ? copy[count / 2] : (copy[count / 2 - 1] + copy[count / 2]) / 2;
}

unsigned tune_won(const struct tune_final *final, unsigned against, double *ratios) {
  unsigned won = 0;
  for (unsigned i = 0; i < final->rounds; i++) {
    const double ratio =
        final->mib_per_second[final->winner][i] / fmax(final->mib_per_second[against][i], 1e-9);
    unsigned at = i;
    for (; at > 0 && ratios[at - 1] > ratio; at--) ratios[at] = ratios[at - 1];
    ratios[at] = ratio;
    won += ratio > 1;
  }
  return won;
}

/* The fastest; but where another one cannot be told from it, whichever has less in flight: a
 * difference that three of four rounds do not show is not worth memory and CPU time. */
static void decide(const struct tune_direction *direction, struct tune_final *final) {
  unsigned best = 0;
  for (unsigned i = 1; i < final->finalists; i++)
    if (median_of(final->mib_per_second[i], final->rounds) >
        median_of(final->mib_per_second[best], final->rounds))
      best = i;
  final->winner = best;
  for (unsigned i = 0; i < final->finalists && final->rounds > 0; i++) {
    double ratios[TUNE_ROUNDS];
    const bool beaten = 4 * tune_won(final, i, ratios) >= 3 * final->rounds;
    const uint64_t now = tune_in_flight(&direction->candidates[final->candidate[best]].point);
    if (i == final->winner || beaten ||
        tune_in_flight(&direction->candidates[final->candidate[i]].point) >= now)
      continue;
    best = i; /* the comparison goes on with the fastest */
    final->tie = true;
  }
  final->winner = best;
}

/* One turn each, beginning with another one in each round. */
static enum tool_exit play_round(struct search *search, struct tune_final *final) {
  struct tune_figures figures;
  for (unsigned i = 0; i < final->finalists; i++) {
    const unsigned who = (i + final->rounds) % final->finalists;
    const enum tool_exit status = try_one(search, final->candidate[who], &figures);
    if (status != TOOL_OK) return status;
    final->mib_per_second[who][final->rounds] = figures.mib_per_second;
  }
  final->rounds++;
  return TOOL_OK;
}

static enum tool_exit play_final(struct search *search) {
  struct tune_direction *direction = search->direction;
  struct tune_final *final = &direction->final;
  const uint64_t until = moment(search, FINAL_SHARE);
  choose_finalists(direction, final);
  enum tool_exit status = TOOL_OK;
  while (status == TOOL_OK && final->rounds < TUNE_ROUNDS && final->finalists > 1 &&
         (double)tool_now_ns() + final->finalists * search->tune->trial_ns <= (double)until)
    status = play_round(search, final);
  if (status == TOOL_OK) decide(direction, final);
  return status;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* The defaults tell how fast it is here, and so how much a trial moves. */
static enum tool_exit calibrate(struct search *search) {
  struct tune *tune = search->tune;
  struct tune_direction *direction = search->direction;
  struct tune_figures figures;
  const double slice = (double)(search->until_ns - search->begun_ns) / SLICES;
  tune->slice_ns = (uint64_t)fmin(fmax(slice, SLICE_LEAST), SLICE_MOST);
  tune_file_set_window(&tune->file, 0);
  const struct tune_point usual = defaults_on(tune->usual);
  direction->defaults = candidate_of(direction, &usual);
  tune->trial_ns = 0;
  enum tool_exit status = try_one(search, direction->defaults, &figures);
  if (status != TOOL_OK) return status;
  if (direction->candidates[direction->defaults].failed)
    return tool_fail(tune_command_name, TOOL_FAILED, "%s: no pool can be opened",
                     rf_backend_name(tune->usual));
  tune_file_set_window(&tune->file,
                       figures.mib_per_second * (1 << 20) * (double)tune->slice_ns / 1e9);
  direction->candidates[direction->defaults].trials = 0; /* of another window */
  tune->trial_ns = 0;
  return try_one(search, direction->defaults, &figures);
}

/* All that was written, as far as there is time. */
static enum tool_exit check_all(struct search *search) {
  struct tune *tune = search->tune;
  enum tool_exit status = TOOL_OK;
  if (search->direction->side == TUNE_READ) return TOOL_OK; /* each read was compared */
  for (uint64_t at = 0;
       at < tune->file.size && status == TOOL_OK && tool_now_ns() < search->until_ns;
       at += TUNE_UNIT) {
    show(search);
    status = tune_file_check(tune, at, TUNE_UNIT);
    if (status == TOOL_OK) search->direction->verified_bytes += TUNE_UNIT;
  }
  return status;
}

enum tool_exit tune_search(struct tune *tune, enum tune_side side, uint64_t until_ns,
                           const struct tune_direction *other) {
  struct tune_direction *direction = &tune->directions[side];
  struct search search = {
      .tune = tune, .direction = direction, .begun_ns = tool_now_ns(), .until_ns = until_ns};
  direction->side = side;
  direction->candidates = calloc(TUNE_CANDIDATES, sizeof(*direction->candidates));
  if (direction->candidates == NULL) return tool_fail(tune_command_name, TOOL_FAILED, "no memory");
  enum tool_exit status = calibrate(&search);
  if (status == TOOL_OK) status = screen_and_halve(&search, other);
  if (status == TOOL_OK) status = draw_curves(&search);
  if (status == TOOL_OK) status = play_final(&search);
  if (status == TOOL_OK) status = check_all(&search);
  return status;
}

/* ---- looking at candidates ------------------------------------------------------------------- */

bool tune_same(const struct tune_point *one, const struct tune_point *other) {
  return one->backend == other->backend && one->block == other->block &&
         one->depth == other->depth && one->workers == other->workers &&
         one->single_submit == other->single_submit && one->overlap == other->overlap;
}

const struct tune_candidate *tune_finalist(const struct tune_direction *direction, unsigned index) {
  return &direction->candidates[direction->final.candidate[index]];
}

const struct tune_candidate *tune_winner(const struct tune_direction *direction) {
  return tune_finalist(direction, direction->final.winner);
}

const struct tune_candidate *tune_find(const struct tune_direction *direction,
                                       const struct tune_point *point) {
  for (unsigned i = 0; i < direction->count; i++)
    if (direction->candidates[i].trials > 0 && tune_same(&direction->candidates[i].point, point))
      return &direction->candidates[i];
  return NULL;
}

const struct tune_candidate *tune_best_of(const struct tune_direction *direction,
                                          enum rf_backend_id backend) {
  const struct tune_candidate *best = NULL;
  for (unsigned least = 2; least > 0 && best == NULL; least--)
    for (unsigned i = 0; i < direction->count; i++) {
      const struct tune_candidate *one = &direction->candidates[i];
      if (one->point.backend != backend || one->trials < least) continue;
      if (best == NULL || tune_median(one) > tune_median(best)) best = one;
    }
  return best;
}

static double field_median(const struct tune_candidate *candidate, size_t offset) {
  double values[TUNE_TRIALS];
  for (unsigned i = 0; i < candidate->trials; i++)
    memcpy(&values[i], (const char *)&candidate->trial[i] + offset, sizeof(values[i]));
  return median_of(values, candidate->trials);
}

double tune_median(const struct tune_candidate *candidate) {
  return field_median(candidate, offsetof(struct tune_figures, mib_per_second));
}

struct tune_summary tune_summarize(const struct tune_candidate *candidate) {
  struct tune_summary summary = {
      .median = {tune_median(candidate),
                 field_median(candidate, offsetof(struct tune_figures, cpu_per_gib)),
                 field_median(candidate, offsetof(struct tune_figures, p50_us)),
                 field_median(candidate, offsetof(struct tune_figures, p99_us))},
      .least = INFINITY};
  for (unsigned i = 0; i < candidate->trials; i++) {
    const double value = candidate->trial[i].mib_per_second;
    if (value < summary.least) summary.least = value;
    if (value > summary.most) summary.most = value;
  }
  return summary;
}
