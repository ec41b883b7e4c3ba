// SPDX-License-Identifier: Apache-2.0
/*
 * The search of one direction, in parts that each have a share of the time:
 *
 *   screening      settings drawn at random from the whole grid, alike many of each backend
 *   halving        the better half goes on with twice as many trials, until few are left
 *   curves         around the best: depth and block size on each backend, then its other options
 *   qualification  the best of all this, and the best of each backend, in some rounds
 *   final          the best two of these and the defaults in alternating rounds, which decide
 *
 * Trials of a round are in random order, so that a disk that becomes slower or faster meanwhile
 * favours nobody, and medians are compared.  The best of many noisy figures is partly luck: hence
 * the last two parts, each of which looks only at figures of its own.
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
#define HALVING_SHARE 0.40 /* of the time; up to the end of this part, as the others */
#define CURVES_SHARE  0.66
#define QUALIFY_SHARE 0.80
#define FINAL_SHARE   0.97
#define CURVE_PASSES  3u
#define BLOCK_DEPTH   8u /* of the curve over the block size: so that large ones can be tried */
#define QUALIFY_BEST  5u /* of all, and the best of each backend with them */
#define QUALIFY_MOST  6u /* rounds */
#define NEAR          0.98
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

static bool is_listed(const struct search *search, unsigned index) {
  for (unsigned i = 0; i < search->listed; i++)
    if (search->list[i] == index) return true;
  return false;
}

/* Puts it on the list, once. */
static void enlist_index(struct search *search, unsigned index) {
  if (index < search->direction->count && !is_listed(search, index))
    search->list[search->listed++] = index;
}

static void enlist(struct search *search, const struct tune_point *point) {
  if (can_be_tried(search->tune, point))
    enlist_index(search, candidate_of(search->direction, point));
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

/* What was good in the other direction, of which DeepSpeed needs one that is good in both: the
 * winner, and the best on libaio. */
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
}

/* The better ones first; qsort() has no context. */
static const struct tune_direction *sorted;
static enum tune_part sorted_part;
static int compare(const void *one, const void *other) {
  const double a = tune_median(&sorted->candidates[*(const unsigned *)one], sorted_part);
  const double b = tune_median(&sorted->candidates[*(const unsigned *)other], sorted_part);
  return (a < b) - (a > b);
}

static void sort_list(struct search *search, enum tune_part part) {
  sorted = search->direction;
  sorted_part = part;
  qsort(search->list, search->listed, sizeof(search->list[0]), compare);
}

static void keep_better_half(struct search *search) {
  sort_list(search, TUNE_ALL);
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

/* ---- the best -------------------------------------------------------------------------------- */

/* The best that is not on the list: among those with several trials, if there are any.
 * direction->count: none. */
static unsigned best_off_list(const struct search *search) {
  const struct tune_direction *direction = search->direction;
  unsigned best = direction->count;
  for (unsigned least = 2; least > 0 && best == direction->count; least--)
    for (unsigned i = 0; i < direction->count; i++) {
      const struct tune_candidate *one = &direction->candidates[i];
      if (one->trials < least || is_listed(search, i)) continue;
      if (best == direction->count ||
          tune_median(one, TUNE_ALL) > tune_median(&direction->candidates[best], TUNE_ALL))
        best = i;
    }
  return best;
}

/* The one with the least in flight among those that are as good as the best, or nearly so.  Empties
 * the list. */
static unsigned thriftiest(struct search *search) {
  const struct tune_direction *direction = search->direction;
  search->listed = 0;
  const unsigned best = best_off_list(search);
  const struct tune_candidate *of = direction->candidates;
  const unsigned least = of[best].trials > 1 ? 2 : 1;
  unsigned found = best;
  for (unsigned i = 0; i < direction->count; i++)
    if (of[i].trials >= least &&
        tune_median(&of[i], TUNE_ALL) >= NEAR * tune_median(&of[best], TUNE_ALL) &&
        tune_in_flight(&of[i].point) < tune_in_flight(&of[found].point))
      found = i;
  return found;
}

/* ---- curves ---------------------------------------------------------------------------------- */

static void enlist_curves(struct search *search, const struct tune_direction *direction) {
  const struct tune_values *values = tune_values();
  const struct tune_point *leader = &direction->leader;
  search->listed = 0;
  for (int b = 0; b < RF_BACKENDS; b++) {
    struct tune_point by_depth = *leader;
    struct tune_point by_block = direction->by_block;
    by_depth.backend = by_block.backend = (enum rf_backend_id)b;
    for (unsigned i = 0; i < values->depth_count; i++) {
      by_depth.depth = values->depths[i];
      enlist(search, &by_depth);
    }
    for (unsigned i = 0; i < values->block_count; i++) {
      by_block.block = values->blocks[i];
      enlist(search, &by_block);
    }
  }
  struct tune_point point = *leader;
  for (unsigned i = 0; i < values->worker_count; i++) {
    point.workers = values->workers[i];
    enlist(search, &point);
  }
  point = *leader;
  point.single_submit = !leader->single_submit;
  enlist(search, &point);
  point = *leader;
  point.overlap = !leader->overlap;
  enlist(search, &point);
}

static enum tool_exit draw_curves(struct search *search) {
  struct tune_direction *direction = search->direction;
  const uint64_t until = moment(search, CURVES_SHARE);
  direction->leader = direction->candidates[thriftiest(search)].point;
  for (unsigned i = 0; i < direction->count; i++)
    direction->candidates[i].curves = direction->candidates[i].trials;
  direction->by_block = direction->leader;
  if (direction->by_block.depth > BLOCK_DEPTH) direction->by_block.depth = BLOCK_DEPTH;
  enlist_curves(search, direction);
  enum tool_exit status = TOOL_OK;
  for (unsigned i = 0; i < CURVE_PASSES && status == TOOL_OK && time_left(search, until); i++)
    status = try_list(search, until);
  return status;
}

/* ---- the final ------------------------------------------------------------------------------- */

static void enlist_qualified(struct search *search, const struct tune_direction *other) {
  const unsigned thrifty = thriftiest(search);
  search->listed = 0;
  for (unsigned i = 0; i < QUALIFY_BEST; i++) enlist_index(search, best_off_list(search));
  for (int b = 0; b < RF_BACKENDS; b++) {
    const struct tune_candidate *best = tune_best_of(search->direction, (enum rf_backend_id)b);
    if (best != NULL) enlist_index(search, (unsigned)(best - search->direction->candidates));
  }
  enlist_index(search, thrifty);
  enlist_index(search, search->direction->defaults);
  enlist_from(search, other);
}

static enum tool_exit qualify(struct search *search, const struct tune_direction *other) {
  struct tune_direction *direction = search->direction;
  const uint64_t until = moment(search, QUALIFY_SHARE);
  enum tool_exit status = TOOL_OK;
  enlist_qualified(search, other);
  for (unsigned i = 0; i < direction->count; i++)
    direction->candidates[i].late = direction->candidates[i].trials;
  for (unsigned i = 0; i < QUALIFY_MOST && status == TOOL_OK && time_left(search, until); i++)
    status = try_list(search, until);
  return status;
}

/* The best two of those on the list, by what they showed in the qualification. */
static void choose_finalists(struct search *search) {
  struct tune_direction *direction = search->direction;
  struct tune_final *final = &direction->final;
  sort_list(search, TUNE_LATE);
  final->finalists = 0;
  for (unsigned i = 0; i < search->listed && final->finalists < 2; i++)
    if (direction->candidates[search->list[i]].trials > 0)
      final->candidate[final->finalists++] = search->list[i];
  bool among = false;
  for (unsigned i = 0; i < final->finalists; i++)
    among = among || final->candidate[i] == direction->defaults;
  if (!among) final->candidate[final->finalists++] = direction->defaults;
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

/* The fastest; but where another one cannot be told from it, whichever takes less CPU time: a
 * difference that three of four rounds do not show is not worth it. */
static void decide(const struct tune_direction *direction, struct tune_final *final) {
  double cpu[TUNE_FINALISTS];
  unsigned best = 0;
  for (unsigned i = 0; i < final->finalists; i++) {
    cpu[i] = tune_summarize(tune_finalist(direction, i), TUNE_LATE).median.cpu_per_gib;
    if (median_of(final->mib_per_second[i], final->rounds) >
        median_of(final->mib_per_second[best], final->rounds))
      best = i;
  }
  final->winner = best;
  for (unsigned i = 0; i < final->finalists && final->rounds > 0; i++) {
    double ratios[TUNE_ROUNDS];
    const bool beaten = 4 * tune_won(final, i, ratios) >= 3 * final->rounds;
    if (i == final->winner || beaten || cpu[i] >= cpu[best]) continue;
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
  choose_finalists(search);
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
  const int failed = direction->candidates[direction->defaults].failed;
  if (failed != 0)
    return tool_fail(tune_command_name, TOOL_FAILED, "%s: no pool can be opened: %s",
                     rf_backend_name(tune->usual),
                     status_words(RF_FROM_POOL, failed, &(struct status_room){0}));
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
  if (until_ns < search.begun_ns) search.until_ns = search.begun_ns; /* the time is over already */
  direction->side = side;
  direction->candidates = calloc(TUNE_CANDIDATES, sizeof(*direction->candidates));
  if (direction->candidates == NULL) return tool_fail(tune_command_name, TOOL_FAILED, "no memory");
  enum tool_exit status = calibrate(&search);
  if (status == TOOL_OK) status = screen_and_halve(&search, other);
  if (status == TOOL_OK) status = draw_curves(&search);
  if (status == TOOL_OK) status = qualify(&search, other);
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

/* How much is known of it: see tune_best_of(). */
static unsigned weight_of(const struct tune_candidate *candidate) {
  if (candidate->late > 0 && candidate->trials > candidate->late) return 3;
  return candidate->trials < 2 ? candidate->trials : 2;
}

const struct tune_candidate *tune_best_of(const struct tune_direction *direction,
                                          enum rf_backend_id backend) {
  const struct tune_candidate *best = NULL;
  for (unsigned least = 3; least > 0 && best == NULL; least--)
    for (unsigned i = 0; i < direction->count; i++) {
      const struct tune_candidate *one = &direction->candidates[i];
      const enum tune_part part = least == 3 ? TUNE_LATE : TUNE_ALL;
      if (one->point.backend != backend || weight_of(one) < least) continue;
      if (best == NULL || tune_median(one, part) > tune_median(best, part)) best = one;
    }
  return best;
}

/* The trials of a part, as a piece of the array. */
static const struct tune_figures *part_of(const struct tune_candidate *candidate,
                                          enum tune_part part, unsigned *count) {
  const unsigned late = candidate->late > 0 ? candidate->late : candidate->trials;
  const unsigned first = part == TUNE_CURVES ? candidate->curves : part == TUNE_LATE ? late : 0;
  const unsigned end = part == TUNE_CURVES ? late : candidate->trials;
  *count = end > first ? end - first : candidate->trials;
  return end > first ? &candidate->trial[first] : candidate->trial;
}

static double field_median(const struct tune_figures *figures, unsigned count, size_t offset) {
  double values[TUNE_TRIALS];
  for (unsigned i = 0; i < count; i++)
    memcpy(&values[i], (const char *)&figures[i] + offset, sizeof(values[i]));
  return median_of(values, count);
}

double tune_median(const struct tune_candidate *candidate, enum tune_part part) {
  unsigned count;
  const struct tune_figures *figures = part_of(candidate, part, &count);
  return field_median(figures, count, offsetof(struct tune_figures, mib_per_second));
}

struct tune_summary tune_summarize(const struct tune_candidate *candidate, enum tune_part part) {
  struct tune_summary summary = {.least = INFINITY};
  const struct tune_figures *figures = part_of(candidate, part, &summary.trials);
  const unsigned count = summary.trials;
  summary.median = (struct tune_figures){
      field_median(figures, count, offsetof(struct tune_figures, mib_per_second)),
      field_median(figures, count, offsetof(struct tune_figures, cpu_per_gib)),
      field_median(figures, count, offsetof(struct tune_figures, p50_us)),
      field_median(figures, count, offsetof(struct tune_figures, p99_us))};
  for (unsigned i = 0; i < count; i++) {
    summary.least = fmin(summary.least, figures[i].mib_per_second);
    summary.most = fmax(summary.most, figures[i].mib_per_second);
  }
  return summary;
}
