// SPDX-License-Identifier: Apache-2.0
/*
 * The page with the charts: complete in itself, without scripts, for light and dark screens and for
 * paper.  It is well-formed XML but for its first line.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json_output.h"
#include "tune.h"
#include "tune_chart.h"

static const char style[] =
    ":root{--bg:#fff;--card:#f6f7f9;--ink:#1c2330;--soft:#5a6475;--line:#d9dee6;--grid:#e6e9ef;"
    "--c0:#1f66d0;--c1:#c8560a;--c2:#0b8468;--c3:#7a4bc2;color-scheme:light dark}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#12161d;--card:#1a202a;--ink:#e8ebf1;"
    "--soft:#a3adbd;--line:#38414f;--grid:#29313d;--c0:#6ea8ff;--c1:#ff9d57;--c2:#43d3ab;"
    "--c3:#bd9bff}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"
    "'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\n"
    "main{max-width:1240px;margin:0 auto;padding:28px 20px 48px}\n"
    "h1{font-size:26px;margin:0;overflow-wrap:anywhere}h2{font-size:21px;margin:40px 0 4px}"
    "h3{font-size:16px;margin:24px 0 8px}\n"
    "p{margin:4px 0;color:var(--soft);max-width:80ch}\n"
    ".cards{display:flex;flex-wrap:wrap;gap:12px;margin:14px 0}\n"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:10px;"
    "padding:12px 18px}\n"
    ".card b{display:block;font-size:24px;font-weight:650;line-height:1.25}\n"
    ".card span{color:var(--soft);font-size:13px}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));"
    "gap:16px;margin:16px 0}\n"
    "figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;"
    "padding:8px}\n"
    "svg{display:block;width:100%;height:auto}\n"
    "svg text{fill:var(--ink);font-family:inherit}\n"
    ".title{font-size:16px;font-weight:600}.tick{font-size:12px}svg .tick{fill:var(--soft)}"
    ".name,.key{font-size:13px}\n"
    ".grid{stroke:var(--grid)}.axis{stroke:var(--soft)}\n"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round}.dashed{stroke-dasharray:6 4}\n"
    ".bar{stroke-width:1.5;opacity:.55}.mark{stroke:var(--card);stroke-width:1}\n"
    ".line.c0,.bar.c0{stroke:var(--c0)}.line.c1,.bar.c1{stroke:var(--c1)}"
    ".line.c2,.bar.c2{stroke:var(--c2)}.line.c3,.bar.c3{stroke:var(--c3)}\n"
    ".mark.c0{fill:var(--c0)}.mark.c1{fill:var(--c1)}.mark.c2{fill:var(--c2)}"
    ".mark.c3{fill:var(--c3)}\n"
    ".wide{overflow-x:auto}\n"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}\n"
    "th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--line);"
    "white-space:nowrap}\n"
    "th{color:var(--soft);font-weight:600}th:first-child,td:first-child,th:nth-child(2),"
    "td:nth-child(2){text-align:left}\n"
    "tr.chosen td{font-weight:650}\n"
    "summary{cursor:pointer;margin:16px 0 8px}\n"
    "pre{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px;"
    "overflow-x:auto;font-size:13px}\n"
    "@media print{.card,figure,pre{break-inside:avoid}}\n";

/* ---- text ------------------------------------------------------------------------------------ */

/* Any bytes, as text that a page may have. */
static void print_text(FILE *out, const char *bytes) {
  json_t *clean = json_text(bytes);
  const char *text = clean != NULL ? json_string_value(clean) : "";
  for (const char *c = text; *c != '\0'; c++) {
    if (*c == '&')
      fputs("&amp;", out);
    else if (*c == '<')
      fputs("&lt;", out);
    else if (*c == '>')
      fputs("&gt;", out);
    else if ((unsigned char)*c < ' ' && *c != '\n')
      fputc('?', out);
    else
      fputc(*c, out);
  }
  json_decref(clean);
}

/* ---- charts ---------------------------------------------------------------------------------- */

typedef double pick_function(const struct tune_summary *summary);

static double pick_p50(const struct tune_summary *summary) {
  return summary->median.p50_us;
}

static double pick_cpu(const struct tune_summary *summary) {
  return summary->median.cpu_per_gib;
}

static double pick_p99(const struct tune_summary *summary) {
  return summary->median.p99_us;
}

enum chart_axis { BY_DEPTH, BY_BLOCK };

static unsigned columns_of(enum chart_axis axis) {
  const struct tune_values *values = tune_values();
  return axis == BY_DEPTH ? values->depth_count : values->block_count;
}

static struct tune_point point_at(const struct tune_direction *direction,
                                  enum rf_backend_id backend, enum chart_axis axis, unsigned i) {
  struct tune_point point = axis == BY_DEPTH ? direction->leader : direction->by_block;
  point.backend = backend;
  if (axis == BY_DEPTH)
    point.depth = tune_values()->depths[i];
  else
    point.block = tune_values()->blocks[i];
  return point;
}

static void label_columns(struct chart *chart, enum chart_axis axis) {
  const struct tune_values *values = tune_values();
  chart->columns = columns_of(axis);
  for (unsigned i = 0; i < chart->columns; i++) {
    struct bytes_text text;
    if (axis == BY_DEPTH)
      snprintf(chart->labels[i], CHART_LABEL, "%u", values->depths[i]);
    else
      snprintf(chart->labels[i], CHART_LABEL, "%.20s", bytes_name(values->blocks[i], &text));
  }
}

/* pick NULL: throughput, with its spread. */
static struct chart_point chart_point(const struct tune_candidate *candidate, pick_function *pick) {
  if (candidate == NULL) return (struct chart_point){0};
  const struct tune_summary summary = tune_summarize(candidate, TUNE_CURVES);
  if (pick == NULL)
    return (struct chart_point){true, summary.median.mib_per_second, summary.least, summary.most};
  const double value = pick(&summary);
  return (struct chart_point){true, value, value, value};
}

/* A line for a backend, if there is a point of it. */
static void add_backend(struct chart *chart, const struct tune_direction *direction,
                        enum rf_backend_id backend, enum chart_axis axis, const char *suffix,
                        pick_function *pick) {
  struct chart_series *series = &chart->series[chart->series_count];
  bool any = false;
  memset(series, 0, sizeof(*series));
  snprintf(series->name, sizeof(series->name), "%s%s", rf_backend_name(backend), suffix);
  series->color = (unsigned)backend;
  series->dashed = pick == pick_p99;
  for (unsigned i = 0; i < chart->columns; i++) {
    const struct tune_point point = point_at(direction, backend, axis, i);
    series->points[i] = chart_point(tune_find(direction, &point), pick);
    any = any || series->points[i].there;
  }
  chart->series_count += any;
}

static void print_figure(FILE *out, const struct chart *chart) {
  fputs("<figure>\n", out);
  chart_print(out, chart);
  fputs("</figure>\n", out);
}

static void print_throughput(FILE *out, const struct tune_direction *direction,
                             enum chart_axis axis) {
  struct chart chart = {.y_title = "MiB/s"};
  char title[80];
  struct bytes_text block;
  const struct tune_point *leader = &direction->leader;
  const char *many = leader->workers == 1 ? "" : "s";
  if (axis == BY_DEPTH)
    snprintf(title, sizeof(title), "Throughput by queue depth: %s blocks, %u worker%s",
             bytes_name(leader->block, &block), leader->workers, many);
  else
    snprintf(title, sizeof(title), "Throughput by block size: depth %u, %u worker%s",
             direction->by_block.depth, leader->workers, many);
  chart.title = title;
  chart.x_title = axis == BY_DEPTH ? "queue depth of a worker, blocks" : "block size";
  label_columns(&chart, axis);
  for (int b = 0; b < RF_BACKENDS; b++)
    add_backend(&chart, direction, (enum rf_backend_id)b, axis, "", NULL);
  print_figure(out, &chart);
}

static void print_latency(FILE *out, const struct tune_direction *direction, enum chart_axis axis) {
  struct chart chart = {.y_title = "µs a block, logarithmic", .logarithmic = true};
  chart.title = axis == BY_DEPTH ? "Latency by queue depth: p50, and p99 dashed"
                                 : "Latency by block size: p50, and p99 dashed";
  chart.x_title = axis == BY_DEPTH ? "queue depth of a worker, blocks" : "block size";
  label_columns(&chart, axis);
  for (int b = 0; b < RF_BACKENDS; b++) {
    add_backend(&chart, direction, (enum rf_backend_id)b, axis, "", pick_p50);
    add_backend(&chart, direction, (enum rf_backend_id)b, axis, " p99", pick_p99);
  }
  print_figure(out, &chart);
}

static void print_cpu(FILE *out, const struct tune_direction *direction) {
  struct chart chart = {
      .title = "CPU time by block size", .x_title = "block size", .y_title = "CPU seconds a GiB"};
  label_columns(&chart, BY_BLOCK);
  for (int b = 0; b < RF_BACKENDS; b++)
    add_backend(&chart, direction, (enum rf_backend_id)b, BY_BLOCK, "", pick_cpu);
  print_figure(out, &chart);
}

static void print_rounds(FILE *out, const struct tune_direction *direction) {
  const struct tune_final *final = &direction->final;
  struct chart chart = {.title = "The best in alternating rounds",
                        .x_title = "round",
                        .y_title = "MiB/s, not from 0",
                        .narrow = true,
                        .columns = final->rounds,
                        .series_count = final->finalists};
  for (unsigned r = 0; r < final->rounds; r++) snprintf(chart.labels[r], CHART_LABEL, "%u", r + 1);
  for (unsigned i = 0; i < final->finalists; i++) {
    struct chart_series *series = &chart.series[i];
    snprintf(series->name, sizeof(series->name), "%s (%s)", tune_role(direction, i),
             rf_backend_name(tune_finalist(direction, i)->point.backend));
    series->color = i == final->winner ? 3 : (i + 2 - (i > final->winner)) % 3;
    for (unsigned r = 0; r < final->rounds; r++) {
      const double y = final->mib_per_second[i][r];
      series->points[r] = (struct chart_point){true, y, y, y};
    }
  }
  if (final->rounds > 0) print_figure(out, &chart);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static void print_row(FILE *out, const char *role, const struct tune_candidate *candidate,
                      enum tune_part part) {
  const struct tune_point *point = &candidate->point;
  const struct tune_summary summary = tune_summarize(candidate, part);
  struct bytes_text block;
  fprintf(out,
          "<tr%s><td>%s</td><td>%s</td><td>%s</td><td>%u</td><td>%u</td><td>%s</td><td>%s</td>",
          strcmp(role, "chosen") == 0 ? " class=\"chosen\"" : "", role,
          rf_backend_name(point->backend), bytes_name(point->block, &block), point->depth,
          point->workers, point->single_submit ? "single" : "batch", point->overlap ? "yes" : "no");
  fprintf(out,
          "<td>%.0f</td><td>%.0f to %.0f</td><td>%u</td><td>%.3f</td><td>%.0f</td><td>%.0f</td>"
          "</tr>\n",
          summary.median.mib_per_second, summary.least, summary.most, summary.trials,
          summary.median.cpu_per_gib, summary.median.p50_us, summary.median.p99_us);
}

static void begin_table(FILE *out) {
  fputs("<div class=\"wide\"><table><thead><tr><th></th><th>backend</th><th>block</th>"
        "<th>depth</th><th>workers</th><th>submit</th><th>overlap</th><th>MiB/s, median</th>"
        "<th>least to most</th><th>trials</th><th>CPU s/GiB</th><th>p50 µs</th><th>p99 µs</th>"
        "</tr></thead><tbody>\n",
        out);
}

static void end_table(FILE *out) {
  fputs("</tbody></table></div>\n", out);
}

static void print_best(FILE *out, const struct tune_direction *direction) {
  const struct tune_final *final = &direction->final;
  begin_table(out);
  print_row(out, "chosen", tune_winner(direction), TUNE_LATE);
  for (unsigned i = 0; i < final->finalists; i++)
    if (i != final->winner)
      print_row(out, tune_role(direction, i), tune_finalist(direction, i), TUNE_LATE);
  for (int b = 0; b < RF_BACKENDS; b++) {
    const struct tune_candidate *best = tune_best_of(direction, (enum rf_backend_id)b);
    char role[32];
    snprintf(role, sizeof(role), "best of %s", rf_backend_name((enum rf_backend_id)b));
    if (best != NULL && !tune_is_finalist(direction, best)) print_row(out, role, best, TUNE_LATE);
  }
  end_table(out);
}

static int by_median(const void *one, const void *other) {
  const double a = tune_median(*(const struct tune_candidate *const *)one, TUNE_ALL);
  const double b = tune_median(*(const struct tune_candidate *const *)other, TUNE_ALL);
  return (a < b) - (a > b);
}

static void print_all(FILE *out, const struct tune_direction *direction) {
  const struct tune_candidate **all = calloc(direction->count, sizeof(*all));
  unsigned count = 0;
  for (unsigned i = 0; i < direction->count && all != NULL; i++)
    if (direction->candidates[i].trials > 0) all[count++] = &direction->candidates[i];
  if (count > 0) qsort(all, count, sizeof(*all), by_median);
  fprintf(out, "<details><summary>All %u settings that were tried</summary>\n", count);
  begin_table(out);
  for (unsigned i = 0; i < count; i++) print_row(out, "", all[i], TUNE_ALL);
  end_table(out);
  fputs("</details>\n", out);
  free(all);
}

/* ---- sections -------------------------------------------------------------------------------- */

static void print_card(FILE *out, const char *value, const char *what) {
  fprintf(out, "<div class=\"card\"><b>%s</b><span>%s</span></div>\n", value, what);
}

static void print_ratio_card(FILE *out, const struct tune_direction *direction, unsigned finalist) {
  const struct tune_final *final = &direction->final;
  double ratios[TUNE_ROUNDS];
  char value[32];
  char what[96];
  if (finalist == final->winner || final->rounds == 0) return;
  const unsigned won = tune_won(final, finalist, ratios);
  snprintf(value, sizeof(value), "×%.3f", ratios[final->rounds / 2]);
  snprintf(what, sizeof(what), "of the %s; ahead in %u of %u rounds",
           tune_role(direction, finalist), won, final->rounds);
  print_card(out, value, what);
}

static void print_cards(FILE *out, const struct tune_direction *direction) {
  const struct tune_candidate *winner = tune_winner(direction);
  const struct tune_point *point = &winner->point;
  char value[64];
  char what[96];
  struct bytes_text block;
  fputs("<div class=\"cards\">\n", out);
  snprintf(value, sizeof(value), "%.0f MiB/s", tune_median(winner, TUNE_LATE));
  print_card(out, value, "median at the end of the search");
  snprintf(what, sizeof(what), "%s blocks, depth %u, %u worker%s%s%s",
           bytes_name(point->block, &block), point->depth, point->workers,
           point->workers == 1 ? "" : "s", point->single_submit ? ", single submit" : "",
           point->overlap ? "" : ", no overlap");
  print_card(out, rf_backend_name(point->backend), what);
  for (unsigned i = 0; i < direction->final.finalists; i++) print_ratio_card(out, direction, i);
  fputs("</div>\n", out);
}

static void print_direction(FILE *out, const struct tune_direction *direction) {
  struct bytes_text verified;
  fprintf(out, "<section>\n<h2>%s</h2>\n", direction->side == TUNE_READ ? "Reading" : "Writing");
  fprintf(
      out, "<p>%u settings in %u trials; %s compared and right.%s%s</p>\n", direction->count,
      direction->trials, bytes_name(direction->verified_bytes, &verified),
      direction->direct ? "" : " Direct I/O is refused here: these are figures of the page cache.",
      direction->final.tie
          ? " No reliable difference to the fastest was seen; the chosen one takes less CPU time."
          : "");
  print_cards(out, direction);
  fputs("<div class=\"charts\">\n", out);
  print_throughput(out, direction, BY_DEPTH);
  print_throughput(out, direction, BY_BLOCK);
  print_latency(out, direction, BY_DEPTH);
  print_latency(out, direction, BY_BLOCK);
  print_cpu(out, direction);
  print_rounds(out, direction);
  fputs("</div>\n", out);
  print_best(out, direction);
  print_all(out, direction);
  fputs("</section>\n", out);
}

static void print_configuration(FILE *out, const struct tune_answers *answers) {
  char *config = tune_config_text(answers);
  char *deepspeed = tune_deepspeed_text(answers);
  fputs("<section>\n<h2>To be used</h2>\n<h3>Configuration of ringfall</h3>\n<pre>", out);
  print_text(out, config != NULL ? config : "");
  fputs("</pre>\n<h3>Section of DeepSpeed's configuration", out);
  fputs(answers->deepspeed_measured ? ", as measured on libaio" : "", out);
  fputs("</h3>\n<pre>", out);
  print_text(out, deepspeed != NULL ? deepspeed : "");
  fputs("</pre>\n</section>\n", out);
  free(config);
  free(deepspeed);
}

static const char how[] =
    "<section>\n<h2>How it was measured</h2>\n"
    "<p>Each trial opens a pool, moves a window of one file in four transfers that are started "
    "anew until its time is over, and compares the data outside of that time. Bars reach from the "
    "least to the greatest trial, lines join medians. Around the best setting of the search one "
    "option at a time was varied for the charts; points are missing where more would be in flight "
    "than a trial moves. Latency is from the submission of a block to its completion, so it rises "
    "with the depth once the device is busy. The winner was chosen in alternating rounds whose "
    "figures took no part in the search; where no difference shows in three of four rounds, the "
    "setting that takes less CPU time is taken.</p>\n</section>\n";

void tune_print_page(FILE *out, const struct tune *tune, const struct tune_answers *answers) {
  struct bytes_text size;
  fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
        out);
  print_text(out, answers->note);
  fprintf(out,
          "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>ringfall tune: ", style);
  print_text(out, tune->options.directory);
  fputs("</h1>\n<p>", out);
  print_text(out, answers->note);
  fprintf(out, "; a file of %s; %.0f s allowed; seed %" PRIu64 "</p>\n",
          bytes_name(tune->file.size, &size), tune->options.seconds, tune->options.seed);
  for (int side = 0; side < TUNE_SIDES; side++)
    if (tune->directions[side].count > 0) print_direction(out, &tune->directions[side]);
  print_configuration(out, answers);
  fputs(how, out);
  fputs("</main>\n</body>\n</html>\n", out);
}
