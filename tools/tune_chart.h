// SPDX-License-Identifier: Apache-2.0
/* Line charts as inline SVG.  Colours are the page's: its CSS has classes for all parts. */
#ifndef RINGFALL_TOOLS_TUNE_CHART_H
#define RINGFALL_TOOLS_TUNE_CHART_H

#include <stdbool.h>
#include <stdio.h>

#define CHART_POINTS 16u /* columns, at most */
#define CHART_SERIES 6u
#define CHART_LABEL  24u

struct chart_point {
  bool there;         /* else the line has no point in this column */
  double y;           /* above 0 on a logarithmic axis */
  double least, most; /* a bar between them, unless both are y */
};

struct chart_series {
  char name[2 * CHART_LABEL];
  unsigned color; /* 0 to 3: class cN of the page; also the shape of its markers */
  bool dashed;    /* and not in the legend: the title says what it is */
  struct chart_point points[CHART_POINTS];
};

struct chart {
  const char *title;
  const char *x_title, *y_title; /* with units */
  bool logarithmic;              /* y; else linear from 0, or from below the least if `narrow` */
  bool narrow;
  unsigned columns; /* equally far apart */
  char labels[CHART_POINTS][CHART_LABEL];
  unsigned series_count;
  struct chart_series series[CHART_SERIES];
};

/* Text in it must be plain: no markup is escaped. */
void chart_print(FILE *out, const struct chart *chart);

#endif
