// SPDX-License-Identifier: Apache-2.0
/* Counters for people and for monitoring. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/internal.h"

/* Bounds of the latency's buckets as Prometheus gets them: 1 us to 69 s, each twice the last. */
#define FIRST_POWER 10u
#define LAST_POWER  36u

static const struct {
  size_t at;
  const char *name; /* with the unit, as Prometheus wants it */
  const char *help;
  bool gauge;
} fields[] = {
#define FIELD(field, name, help, gauge)                                                            \
  { offsetof(struct rf_counters, field), name, help, gauge }
    FIELD(accepted, "ops_accepted", "Ops taken by the queue.", false),
    FIELD(refused, "ops_refused", "Ops not taken because the queue was full.", false),
    FIELD(completed, "ops_completed", "Ops handed back.", false),
    FIELD(failed, "ops_failed", "Ops handed back with an error.", false),
    FIELD(bytes, "bytes", "Bytes moved by completed ops.", false),
    FIELD(requests, "requests", "Requests handed to a backend.", false),
    FIELD(continued, "requests_continued", "Short transfers that were continued.", false),
    FIELD(retried, "requests_retried", "Requests tried again.", false),
    FIELD(cancelled, "ops_cancelled", "Ops stopped by a cancellation or a failed link.", false),
    FIELD(timed_out, "ops_timed_out", "Ops stopped by their deadline.", false),
    FIELD(batches, "batches", "Hand-overs to a backend.", false),
    FIELD(submit_ns, "submit_seconds", "Time blocked in submission.", false),
    FIELD(system_calls, "system_calls", "System calls of the queue's thread.", false),
    FIELD(deaths, "backend_deaths", "Backends that stopped working in use.", false),
    FIELD(lost, "ops_lost", "Ops whose fate is not known.", false),
    FIELD(stalled, "ops_stalled", "Ops that took longer than the watchdog allows.", false),
    FIELD(generation, "backend_generation", "Backends gone through so far.", true),
#undef FIELD
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))
_Static_assert(FIELDS == offsetof(struct rf_counters, fell_back) / sizeof(uint64_t),
               "every counter has its text");

/* What would be written is counted on, as snprintf() does. */
struct text {
  char *at;
  size_t size, length;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *text, const char *format, ...) {
  va_list arguments;
  size_t room = text->length < text->size ? text->size - text->length : 0;
  va_start(arguments, format);
  int n = vsnprintf(room > 0 ? text->at + text->length : NULL, room, format, arguments);
  va_end(arguments);
  if (n > 0) text->length += (size_t)n;
}

static uint64_t value_of(const struct rf_counters *counters, size_t field) {
  uint64_t value;
  memcpy(&value, (const char *)counters + fields[field].at, sizeof(value));
  return value;
}

int rf_counters_text(const struct rf_counters *counters, char *buf, size_t size) {
  struct text text = {buf, size, 0};
  if (size > 0) buf[0] = '\0';
  for (size_t i = 0; i < FIELDS; i++) {
    bool time = fields[i].at == offsetof(struct rf_counters, submit_ns);
    if (time)
      add(&text, "%s %.9f\n", fields[i].name, (double)value_of(counters, i) / 1e9);
    else
      add(&text, "%s %" PRIu64 "\n", fields[i].name, value_of(counters, i));
  }
  for (unsigned op = 0; op < RF_OP_KINDS; op++)
    for (unsigned reason = 0; reason < RF_FALLBACK_REASONS; reason++)
      if (counters->fell_back[op][reason] > 0)
        add(&text, "fell back: %s, %s %" PRIu64 "\n", rf_op_name((enum rf_op_kind)op),
            rf_fallback_reason_name((enum rf_fallback_reason)reason),
            counters->fell_back[op][reason]);
  return (int)text.length;
}

/* ---- Prometheus, text format 0.0.4 ----------------------------------------------------------- */

/* A metric begins with what it is; `suffix` is what counters have to end with. */
static void head(struct text *text, const char *name, const char *suffix, const char *help,
                 const char *type) {
  add(text, "# HELP ringfall_%s%s %s\n# TYPE ringfall_%s%s %s\n", name, suffix, help, name, suffix,
      type);
}

static void labelled(struct text *text, const char *labels) {
  if (labels[0] != '\0') add(text, "{%s}", labels);
}

static void add_fields(struct text *text, const struct rf_counters *counters, const char *labels) {
  for (size_t i = 0; i < FIELDS; i++) {
    const char *suffix = fields[i].gauge ? "" : "_total";
    head(text, fields[i].name, suffix, fields[i].help, fields[i].gauge ? "gauge" : "counter");
    add(text, "ringfall_%s%s", fields[i].name, suffix);
    labelled(text, labels);
    if (fields[i].at == offsetof(struct rf_counters, submit_ns))
      add(text, " %.9f\n", (double)value_of(counters, i) / 1e9);
    else
      add(text, " %" PRIu64 "\n", value_of(counters, i));
  }
}

static void add_fallbacks(struct text *text, const struct rf_counters *counters,
                          const char *labels) {
  head(text, "ops_fell_back", "_total", "Ops that did not go to the queue's own backend.",
       "counter");
  for (unsigned op = 0; op < RF_OP_KINDS; op++)
    for (unsigned reason = 0; reason < RF_FALLBACK_REASONS; reason++) {
      if (counters->fell_back[op][reason] == 0) continue;
      add(text, "ringfall_ops_fell_back_total{%s%sop=\"%s\",reason=\"%s\"} %" PRIu64 "\n", labels,
          labels[0] != '\0' ? "," : "", rf_op_name((enum rf_op_kind)op),
          rf_fallback_reason_name((enum rf_fallback_reason)reason),
          counters->fell_back[op][reason]);
    }
}

static void add_latency(struct text *text, const struct rf_latency *latency, const char *labels) {
  const char *comma = labels[0] != '\0' ? "," : "";
  uint64_t seen = 0;
  unsigned bucket = 0;
  head(text, "latency_seconds", "", "From acceptance to completion.", "histogram");
  for (unsigned power = FIRST_POWER; power <= LAST_POWER; power++) {
    uint64_t end = (UINT64_C(1) << power) - 1;
    for (; bucket < RF_LATENCY_BUCKETS && rf_latency_bucket_end(bucket) <= end; bucket++)
      seen += latency->bucket[bucket];
    add(text, "ringfall_latency_seconds_bucket{%s%sle=\"%.9f\"} %" PRIu64 "\n", labels, comma,
        (double)end / 1e9, seen);
  }
  add(text, "ringfall_latency_seconds_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", labels, comma,
      latency->count);
  add(text, "ringfall_latency_seconds_sum");
  labelled(text, labels);
  add(text, " %.9f\nringfall_latency_seconds_count", (double)latency->total_ns / 1e9);
  labelled(text, labels);
  add(text, " %" PRIu64 "\n", latency->count);
}

int rf_counters_prometheus(const struct rf_counters *counters, const struct rf_latency *latency,
                           const char *labels, char *buf, size_t size) {
  struct text text = {buf, size, 0};
  if (labels == NULL) labels = "";
  if (size > 0) buf[0] = '\0';
  add_fields(&text, counters, labels);
  add_fallbacks(&text, counters, labels);
  if (latency != NULL) add_latency(&text, latency, labels);
  return (int)text.length;
}
