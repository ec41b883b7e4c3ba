// SPDX-License-Identifier: Apache-2.0
/* Line charts as inline SVG. */
#include "tune_chart.h"

#include <math.h>
#include <string.h>

#define WIDTH  600.0
#define HEIGHT 360.0
#define LEFT   72.0 /* of the area for the lines, as the next three */
#define RIGHT  584.0
#define TOP    72.0
#define BOTTOM 306.0

struct axis {
  double least, most;
  double step; /* between ticks; on a logarithmic axis they are at 1, 2, 5, 10, ... */
  bool logarithmic;
};

/* ---- the y axis ------------------------------------------------------------------------------ */

/* 1, 2 or 5 times a power of ten, not less than value. */
static double round_step(double value) {
  const double power = pow(10, floor(log10(value)));
  const double share = value / power;
  return (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10) * power;
}

static void find_range(const struct chart *chart, double *least, double *most) {
  *least = INFINITY;
  *most = 0;
  for (unsigned s = 0; s < chart->series_count; s++)
    for (unsigned i = 0; i < chart->columns; i++) {
      const struct chart_point *point = &chart->series[s].points[i];
      if (!point->there) continue;
      *least = fmin(*least, fmin(point->y, point->least));
      *most = fmax(*most, fmax(point->y, point->most));
    }
  if (!(*most > 0)) *least = *most = 1;
}

static struct axis make_axis(const struct chart *chart) {
  struct axis axis = {.logarithmic = chart->logarithmic};
  find_range(chart, &axis.least, &axis.most);
  if (axis.logarithmic) {
    axis.least = pow(10, floor(log10(fmax(axis.least, 0.1))));
    axis.most = pow(10, ceil(log10(fmax(axis.most, axis.least * 1.001))));
    return axis;
  }
  const double from = chart->narrow ? fmax(0, axis.least - 0.2 * (axis.most - axis.least)) : 0;
  axis.step = round_step(fmax(axis.most - from, axis.most * 0.02) / 5);
  axis.least = floor(from / axis.step) * axis.step;
  axis.most = ceil(axis.most * 1.001 / axis.step) * axis.step;
  return axis;
}

static double y_of(const struct axis *axis, double value) {
  double share = (value - axis->least) / (axis->most - axis->least);
  if (axis->logarithmic)
    share = log(fmax(value, axis->least) / axis->least) / log(axis->most / axis->least);
  return BOTTOM - share * (BOTTOM - TOP);
}

static double x_of(const struct chart *chart, unsigned column) {
  return LEFT + (column + 0.5) * (RIGHT - LEFT) / chart->columns;
}

static void print_tick(FILE *out, const struct axis *axis, double value) {
  const double y = y_of(axis, value);
  fprintf(out, "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", LEFT, y,
          RIGHT, y);
  fprintf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n",
          LEFT - 8, y + 4, value);
}

static void print_y_axis(FILE *out, const struct axis *axis) {
  static const double steps[] = {1, 2, 5};
  if (!axis->logarithmic) {
    const int ticks = (int)lround((axis->most - axis->least) / axis->step);
    for (int i = 0; i <= ticks; i++) print_tick(out, axis, axis->least + i * axis->step);
    return;
  }
  const bool wide = axis->most / axis->least > 1001; /* then only the powers of ten */
  for (double power = axis->least; power < axis->most * 1.001; power *= 10)
    for (unsigned i = 0; i < (wide ? 1 : 3); i++)
      if (power * steps[i] < axis->most * 1.001) print_tick(out, axis, power * steps[i]);
}

/* ---- the frame ------------------------------------------------------------------------------- */

static void print_x_axis(FILE *out, const struct chart *chart) {
  fprintf(out, "<line class=\"axis\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", LEFT,
          BOTTOM, RIGHT, BOTTOM);
  for (unsigned i = 0; i < chart->columns; i++)
    fprintf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>",
            x_of(chart, i), BOTTOM + 19, chart->labels[i]);
  fprintf(out, "\n<text class=\"name\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
          (LEFT + RIGHT) / 2, HEIGHT - 12, chart->x_title);
  fprintf(out,
          "<text class=\"name\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" "
          "transform=\"rotate(-90 %.1f %.1f)\">%s</text>\n",
          18.0, (TOP + BOTTOM) / 2, 18.0, (TOP + BOTTOM) / 2, chart->y_title);
}

/* Colour and shape go together, so that neither has to be seen. */
static void print_marker(FILE *out, unsigned color, double x, double y) {
  if (color == 0)
    fprintf(out, "<circle class=\"mark c0\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\">", x, y);
  else if (color == 1)
    fprintf(out, "<rect class=\"mark c1\" x=\"%.1f\" y=\"%.1f\" width=\"7.6\" height=\"7.6\">",
            x - 3.8, y - 3.8);
  else if (color == 2)
    fprintf(out, "<path class=\"mark c2\" d=\"M%.1f %.1fl4.8 8.4h-9.6z\">", x, y - 5.2);
  else
    fprintf(out, "<path class=\"mark c3\" d=\"M%.1f %.1fl5 5l-5 5l-5 -5z\">", x, y - 5);
}

static void end_marker(FILE *out, unsigned color) {
  fputs(color == 0 ? "</circle>" : color == 1 ? "</rect>" : "</path>", out);
}

static void print_legend(FILE *out, const struct chart *chart) {
  double x = LEFT;
  for (unsigned s = 0; s < chart->series_count; s++) {
    const struct chart_series *series = &chart->series[s];
    if (series->dashed) continue; /* goes with the one of its colour */
    fprintf(out, "<line class=\"line c%u\" x1=\"%.1f\" y1=\"50\" x2=\"%.1f\" y2=\"50\"/>",
            series->color, x, x + 24);
    print_marker(out, series->color, x + 12, 50);
    end_marker(out, series->color);
    fprintf(out, "<text class=\"key\" x=\"%.1f\" y=\"54\">%s</text>\n", x + 30, series->name);
    x += 46 + 6.9 * (double)strlen(series->name);
  }
}

/* ---- the lines ------------------------------------------------------------------------------- */

static void print_line(FILE *out, const struct chart *chart, const struct axis *axis,
                       const struct chart_series *series) {
  fprintf(out, "<polyline class=\"line c%u%s\" points=\"", series->color,
          series->dashed ? " dashed" : "");
  for (unsigned i = 0; i < chart->columns; i++)
    if (series->points[i].there)
      fprintf(out, "%.1f,%.1f ", x_of(chart, i), y_of(axis, series->points[i].y));
  fputs("\"/>\n", out);
}

static void print_points(FILE *out, const struct chart *chart, const struct axis *axis,
                         const struct chart_series *series) {
  for (unsigned i = 0; i < chart->columns; i++) {
    const struct chart_point *point = &series->points[i];
    const double x = x_of(chart, i);
    if (!point->there) continue;
    if (point->least < point->most)
      fprintf(out, "<line class=\"bar c%u\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>",
              series->color, x, y_of(axis, point->least), x, y_of(axis, point->most));
    print_marker(out, series->color, x, y_of(axis, point->y));
    fprintf(out, "<title>%s, %s: %.4g", series->name, chart->labels[i], point->y);
    if (point->least < point->most) fprintf(out, " (%.4g to %.4g)", point->least, point->most);
    fputs("</title>", out);
    end_marker(out, series->color);
  }
  fputc('\n', out);
}

void chart_print(FILE *out, const struct chart *chart) {
  const struct axis axis = make_axis(chart);
  fprintf(out,
          "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n"
          "<text class=\"title\" x=\"%.1f\" y=\"24\">%s</text>\n",
          WIDTH, HEIGHT, chart->title, LEFT, chart->title);
  print_legend(out, chart);
  print_y_axis(out, &axis);
  print_x_axis(out, chart);
  for (unsigned s = 0; s < chart->series_count; s++)
    print_line(out, chart, &axis, &chart->series[s]);
  for (unsigned s = 0; s < chart->series_count; s++)
    print_points(out, chart, &axis, &chart->series[s]);
  fputs("</svg>\n", out);
}
