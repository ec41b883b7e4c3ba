// SPDX-License-Identifier: Apache-2.0
/* What tune found: the configuration, DeepSpeed's section, a table, JSON. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "colour.h"
#include "json_output.h"
#include "tune.h"

const char *tune_side_name(enum tune_side side) {
  return side == TUNE_READ ? "read" : "write";
}

/* ---- the answers ----------------------------------------------------------------------------- */

static void configure(struct rf_config_direction *config, const struct tune_point *point) {
  config->given = true;
  config->engine.choice = RF_CHOICE_PREFER;
  config->engine.backend = point->backend;
  config->engine.depth = point->depth;
  config->pool.block_size = point->block;
  config->pool.queue_depth = point->depth;
  config->pool.workers = point->workers;
  config->pool.single_submit = point->single_submit;
  config->pool.overlap_events = point->overlap;
}

/* How near this point comes to the best of its backend, in the direction where it is worse; -1 if
 * it was not tried in one of them as often as that. */
static double worst_share(const struct tune *tune, const struct tune_point *point, unsigned least) {
  double worst = 2;
  for (int side = 0; side < TUNE_SIDES; side++) {
    const struct tune_direction *direction = &tune->directions[side];
    if (direction->count == 0) continue;
    const struct tune_candidate *found = tune_find(direction, point);
    if (found == NULL || found->trials < least) return -1;
    const double share = tune_median(found, TUNE_ALL) /
                         tune_median(tune_best_of(direction, point->backend), TUNE_ALL);
    if (share < worst) worst = share;
  }
  return worst;
}

/* DeepSpeed has one section for both directions, and runs it on libaio. */
static void choose_for_deepspeed(const struct tune *tune, struct tune_answers *answers) {
  const struct tune_direction *any = &tune->directions[tune->options.sides[TUNE_READ] ? 0 : 1];
  answers->deepspeed_measured = tune->engines[RF_BACKEND_LIBAIO] != NULL;
  answers->deepspeed = any->candidates[any->defaults].point;
  double best = -1;
  for (unsigned least = 4; least > 0 && best < 0; least--)
    for (unsigned i = 0; i < any->count; i++) {
      const struct tune_point *point = &any->candidates[i].point;
      if (answers->deepspeed_measured && point->backend != RF_BACKEND_LIBAIO) continue;
      const double share = worst_share(tune, point, least);
      if (share <= best) continue;
      best = share;
      answers->deepspeed = *point;
    }
}

void tune_answer(const struct tune *tune, struct tune_answers *answers) {
  memset(answers, 0, sizeof(*answers));
  rf_config_init(&answers->config);
  if (tune->options.sides[TUNE_READ])
    configure(&answers->config.read, &tune_winner(&tune->directions[TUNE_READ])->point);
  if (tune->options.sides[TUNE_WRITE])
    configure(&answers->config.write, &tune_winner(&tune->directions[TUNE_WRITE])->point);
  choose_for_deepspeed(tune, answers);
  char day[16] = "";
  const time_t now = time(NULL);
  struct tm local;
  if (localtime_r(&now, &local) != NULL) strftime(day, sizeof(day), "%Y-%m-%d", &local);
  snprintf(answers->note, sizeof(answers->note), "ringfall tune of %.120s (%s), Linux %s, %s",
           tune->options.directory, tune->file.info.file_system, tune->limits.kernel, day);
}

char *tune_config_text(const struct tune_answers *answers) {
  const size_t size = rf_config_format(&answers->config, answers->note, NULL, 0) + 1;
  char *text = malloc(size);
  if (text != NULL) rf_config_format(&answers->config, answers->note, text, size);
  return text;
}

static json_t *deepspeed_json(const struct tune_point *point) {
  return json_pack("{s:{s:I, s:I, s:I, s:b, s:b}}", "aio", "block_size", (json_int_t)point->block,
                   "queue_depth", (json_int_t)point->depth, "intra_op_parallelism",
                   (json_int_t)point->workers, "single_submit", point->single_submit,
                   "overlap_events", point->overlap);
}

char *tune_deepspeed_text(const struct tune_answers *answers) {
  json_t *root = deepspeed_json(&answers->deepspeed);
  char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
  json_decref(root);
  char *line = text != NULL ? realloc(text, strlen(text) + 2) : NULL;
  if (line == NULL) free(text);
  if (line != NULL) strcat(line, "\n");
  return line;
}

/* ---- the table ------------------------------------------------------------------------------- */

static void print_row(const char *role, const struct tune_candidate *candidate) {
  const struct tune_point *point = &candidate->point;
  const struct tune_summary summary = tune_summarize(candidate, TUNE_LATE);
  struct bytes_text block;
  printf("  %-12s %-8s %8s %6u %8u %7s %8s %9.0f %9.0f %9.0f %7u %10.3f %9.0f\n", role,
         rf_backend_name(point->backend), bytes_name(point->block, &block), point->depth,
         point->workers, point->single_submit ? "single" : "batch", point->overlap ? "yes" : "no",
         summary.median.mib_per_second, summary.least, summary.most, summary.trials,
         summary.median.cpu_per_gib, summary.median.p99_us);
}

bool tune_is_finalist(const struct tune_direction *direction,
                      const struct tune_candidate *candidate) {
  for (unsigned i = 0; i < direction->final.finalists; i++)
    if (tune_finalist(direction, i) == candidate) return true;
  return false;
}

const char *tune_role(const struct tune_direction *direction, unsigned finalist) {
  const struct tune_final *final = &direction->final;
  if (finalist == final->winner) return "chosen";
  if (final->candidate[finalist] == direction->defaults) return "defaults";
  /* Both were better in the search, where the defaults were chosen after all. */
  return finalist == 1 && final->winner == 2 ? "third" : "runner-up";
}

static void print_rows(const struct tune *tune, const struct tune_direction *direction) {
  const struct tune_final *final = &direction->final;
  printf("  %-12s %-8s %8s %6s %8s %7s %8s %9s %9s %9s %7s %10s %9s\n", "", "backend", "block",
         "depth", "workers", "submit", "overlap", "MiB/s", "least", "most", "trials", "CPU s/GiB",
         "p99 us");
  print_row("chosen", tune_winner(direction));
  for (unsigned i = 0; i < final->finalists; i++)
    if (i != final->winner) print_row(tune_role(direction, i), tune_finalist(direction, i));
  for (int b = 0; b < RF_BACKENDS; b++) {
    const struct tune_candidate *best = tune_best_of(direction, (enum rf_backend_id)b);
    char role[32];
    snprintf(role, sizeof(role), "of %s", rf_backend_name((enum rf_backend_id)b));
    if (best != NULL && !tune_is_finalist(direction, best)) print_row(role, best);
    if (best == NULL && *tune->why_not[b] != '\0')
      printf("  %-12s %sdoes not work here%s: %s\n", rf_backend_name((enum rf_backend_id)b),
             colour_on(COLOUR_WARNING), colour_off(), tune->why_not[b]);
  }
}

static void print_final(const struct tune_direction *direction) {
  const struct tune_final *final = &direction->final;
  double ratios[TUNE_ROUNDS];
  for (unsigned i = 0; i < final->finalists && final->rounds > 0; i++) {
    if (i == final->winner) continue;
    const unsigned won = tune_won(final, i, ratios);
    printf("  Chosen beside %s: ahead in %u of %u alternating rounds, %.3f times as fast (%.3f to "
           "%.3f).\n",
           tune_role(direction, i), won, final->rounds, ratios[final->rounds / 2], ratios[0],
           ratios[final->rounds - 1]);
  }
  if (final->rounds == 0)
    puts("  No time was left to compare the best in alternation: --time T gives more.");
  if (final->tie)
    puts("  No reliable difference to the fastest was seen; the chosen one takes less CPU time.");
}

void tune_print_table(const struct tune *tune, const struct tune_answers *answers) {
  struct bytes_text size;
  printf("%s: %s; %s; %.0f s; Linux %s; seed %" PRIu64 "\n", tune->options.directory,
         tune->file.info.file_system, bytes_name(tune->file.size, &size),
         (double)(tool_now_ns() - tune->begun_ns) / 1e9, tune->limits.kernel, tune->options.seed);
  for (int side = 0; side < TUNE_SIDES; side++) {
    const struct tune_direction *direction = &tune->directions[side];
    struct bytes_text verified;
    if (direction->count == 0) continue;
    printf("\n%s%s%s: %u settings in %u trials; %s compared and right\n", colour_on(COLOUR_HEADING),
           tune_side_name(direction->side), colour_off(), direction->count, direction->trials,
           bytes_name(direction->verified_bytes, &verified));
    print_rows(tune, direction);
    print_final(direction);
    if (!direction->direct)
      puts("  Direct I/O is refused here: these are figures of the page cache, not of a device.");
  }
  if (tune->options.output != NULL || tune->options.deepspeed != NULL) return;
  char *text = tune_config_text(answers);
  printf("\nThe configuration (--output FILE writes it there):\n%s", text != NULL ? text : "");
  free(text);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *point_json(const struct tune_point *point) {
  return json_pack("{s:s, s:I, s:I, s:I, s:b, s:b}", "backend", rf_backend_name(point->backend),
                   "block_size", (json_int_t)point->block, "queue_depth", (json_int_t)point->depth,
                   "workers", (json_int_t)point->workers, "single_submit", point->single_submit,
                   "overlap_events", point->overlap);
}

static json_t *candidate_json(const struct tune_candidate *candidate, enum tune_part part) {
  json_t *json = point_json(&candidate->point);
  json_t *trials = json_array();
  for (unsigned i = 0; i < candidate->trials; i++)
    json_array_append_new(trials, json_real(candidate->trial[i].mib_per_second));
  if (candidate->trials > 0) {
    const struct tune_summary summary = tune_summarize(candidate, part);
    json_object_set_new(json, "mib_per_second", json_real(summary.median.mib_per_second));
    json_object_set_new(json, "least", json_real(summary.least));
    json_object_set_new(json, "most", json_real(summary.most));
    json_object_set_new(json, "cpu_s_per_gib", json_real(summary.median.cpu_per_gib));
    json_object_set_new(json, "p50_us", json_real(summary.median.p50_us));
    json_object_set_new(json, "p99_us", json_real(summary.median.p99_us));
  }
  json_object_set_new(json, "failed", json_boolean(candidate->failed != 0));
  json_object_set_new(json, "trials", trials);
  return json;
}

static json_t *final_json(const struct tune_direction *direction) {
  const struct tune_final *final = &direction->final;
  json_t *array = json_array();
  for (unsigned i = 0; i < final->finalists; i++) {
    json_t *rounds = json_array();
    for (unsigned r = 0; r < final->rounds; r++)
      json_array_append_new(rounds, json_real(final->mib_per_second[i][r]));
    json_array_append_new(array,
                          json_pack("{s:s, s:o, s:o}", "role", tune_role(direction, i), "setting",
                                    point_json(&tune_finalist(direction, i)->point),
                                    "rounds_mib_per_second", rounds));
  }
  return array;
}

static json_t *direction_json(const struct tune_direction *direction) {
  json_t *all = json_array();
  for (unsigned i = 0; i < direction->count; i++)
    if (direction->candidates[i].trials > 0 || direction->candidates[i].failed != 0)
      json_array_append_new(all, candidate_json(&direction->candidates[i], TUNE_ALL));
  return json_pack(
      "{s:s, s:b, s:I, s:I, s:o, s:o, s:b, s:o, s:o}", "direction", tune_side_name(direction->side),
      "direct", direction->direct, "trials", (json_int_t)direction->trials, "verified_bytes",
      (json_int_t)direction->verified_bytes, "chosen",
      candidate_json(tune_winner(direction), TUNE_LATE), "final", final_json(direction), "tie",
      direction->final.tie, "curves_around", point_json(&direction->leader), "candidates", all);
}

static json_t *config_json(const struct tune_answers *answers) {
  char *text = tune_config_text(answers);
  json_t *json = text != NULL ? json_loads(text, 0, NULL) : NULL;
  free(text);
  return json;
}

enum tool_exit tune_print_json(const struct tune *tune, const struct tune_answers *answers) {
  json_t *directions = json_array();
  for (int side = 0; side < TUNE_SIDES; side++)
    if (tune->directions[side].count > 0)
      json_array_append_new(directions, direction_json(&tune->directions[side]));
  json_t *root = json_pack(
      "{s:{s:o, s:s, s:I}, s:{s:o, s:I}, s:f, s:f, s:I, s:o, s:o, s:o}", "directory", "path",
      json_text(tune->options.directory), "file_system", tune->file.info.file_system, "size",
      (json_int_t)tune->file.size, "host", "kernel", json_text(tune->limits.kernel), "cpus",
      (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "seconds",
      (double)(tool_now_ns() - tune->begun_ns) / 1e9, "seconds_allowed", tune->options.seconds,
      "seed", (json_int_t)tune->options.seed, "directions", directions, "config",
      config_json(answers), "deepspeed", deepspeed_json(&answers->deepspeed));
  return json_print(tune_command_name, root, TOOL_OK);
}
