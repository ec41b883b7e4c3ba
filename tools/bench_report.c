// SPDX-License-Identifier: Apache-2.0
/* The report of `ringfall bench`: one table for people, or JSON. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench.h"
#include "colour.h"
#include "json_output.h"

const char *bench_mode_name(enum bench_mode mode) {
  static const char *const names[] = {"read", "write", "randread", "randwrite", "mixed"};
  return names[mode];
}

/* ---- figures ---- */

static uint64_t ios(const struct bench_result *r) {
  return r->reads + r->writes;
}

static double per_second(const struct bench_result *r, double amount) {
  return r->seconds > 0 ? amount / r->seconds : 0;
}

static double per_io(const struct bench_result *r, double amount) {
  return ios(r) > 0 ? amount / (double)ios(r) : 0;
}

static double mib_per_second(const struct bench_result *r) {
  return per_second(r, (double)r->bytes / (1024 * 1024));
}

static double latency_us(const struct bench_result *r, double share) {
  return (double)rf_latency_at(&r->latency, share) / 1e3;
}

/* Ops that another backend than the one in the row did the work of. */
static uint64_t fell_back(const struct bench_result *r) {
  uint64_t sum = 0;
  for (int op = 0; op < RF_OP_KINDS; op++)
    for (int reason = 0; reason < RF_FALLBACK_REASONS; reason++)
      sum += r->counters.fell_back[op][reason];
  return sum;
}

/* Those of the queue's thread are counted by the library; where worker threads do the I/O, each
 * request is one more. */
static uint64_t system_calls(const struct bench_result *r) {
  const uint64_t by_workers =
      r->backend == RF_BACKEND_THREADS ? r->counters.requests : fell_back(r);
  return r->counters.system_calls + by_workers;
}

/* ---- text ---- */

void bench_print_heading(const struct bench_options *options, const struct bench_file *file,
                         const struct rf_limits *limits) {
  struct bytes_text size;
  struct bytes_text block;
  const char *fate = !file->made ? "" : options->keep ? " (new)" : " (a file that goes away)";
  printf("%s%s, %s, %s; %s, %s blocks, depth %u, %s, %g s each; Linux %s\n\n", file->path, fate,
         file->info.block_device ? "block device" : file->info.file_system,
         bytes_name(file->size, &size), bench_mode_name(options->mode),
         bytes_name(file->block, &block), options->depth, options->direct ? "direct" : "buffered",
         options->seconds, limits->kernel);
  printf("%s%-9s %10s %9s %10s %10s %10s %10s %9s  %s%s\n", colour_on(COLOUR_HEADING), "backend",
         "IOPS", "MiB/s", "p50 us", "p99 us", "p99.9 us", "CPU us/IO", "calls/IO", "verified",
         colour_off());
  fflush(stdout);
}

void bench_print_row(const struct bench_result *r) {
  struct bytes_text bytes;
  printf("%-9s ", rf_backend_name(r->backend));
  if (!r->usable || r->failed) {
    printf("%s%s%s: %s\n", colour_on(r->usable ? COLOUR_BAD : COLOUR_WARNING),
           r->usable ? "failed" : "not usable", colour_off(), r->why);
    fflush(stdout);
    return;
  }
  printf("%10.0f %9.1f %10.1f %10.1f %10.1f %10.2f %9.3f  ", per_second(r, (double)ios(r)),
         mib_per_second(r), latency_us(r, 0.5), latency_us(r, 0.99), latency_us(r, 0.999),
         per_io(r, r->cpu_seconds * 1e6), per_io(r, (double)system_calls(r)));
  if (r->verified == VERIFIED_YES)
    puts(bytes_name(r->verified_bytes, &bytes));
  else if (r->verified == VERIFIED_WRONG)
    printf("%sNO%s\n", colour_on(COLOUR_BAD), colour_off());
  else
    puts("not checked");
  fflush(stdout);
}

static const char *how_verified(const struct bench_options *options,
                                const struct bench_file *file) {
  if (file->content == CONTENT_FOREIGN) return "sample";
  if (file->content == CONTENT_STAMPED) return "any version";
  return bench_writes(options) ? "read back" : "every read";
}

void bench_print_footnotes(const struct bench_options *options, const struct bench_file *file,
                           const struct bench_result *results, unsigned count) {
  puts("\nCPU us/IO: of the whole process, without making and checking the data. calls/IO: system\n"
       "calls; for threads those of the workers are counted as one a request.");
  if (file->content == CONTENT_FOREIGN)
    puts("verified: bench did not make this file; the last reads were compared with pread().");
  if (file->content == CONTENT_STAMPED)
    puts("verified: made by an earlier bench; all is checked but how old the data is.");
  if (bench_writes(options))
    puts("verified: bytes read back at the end, and those read during the run.");
  for (unsigned i = 0; i < count; i++) {
    const uint64_t others = fell_back(&results[i]);
    if (others > 0)
      printf("%s: %" PRIu64 " of its ops were run by threads.\n",
             rf_backend_name(results[i].backend), others);
  }
}

/* ---- JSON ---- */

static json_t *latency_json(const struct bench_result *r) {
  const double mean =
      r->latency.count > 0 ? (double)r->latency.total_ns / (double)r->latency.count / 1e3 : 0;
  return json_pack("{s:f, s:f, s:f, s:f, s:f}", "mean", mean, "p50", latency_us(r, 0.5), "p99",
                   latency_us(r, 0.99), "p99_9", latency_us(r, 0.999), "max",
                   (double)r->latency.max_ns / 1e3);
}

static json_t *verified_json(const struct bench_result *r) {
  return r->verified == VERIFIED_NOT ? json_null() : json_boolean(r->verified == VERIFIED_YES);
}

static json_t *result_json(const struct bench_result *r) {
  if (!r->usable || r->failed)
    return json_pack("{s:s, s:b, s:b, s:o}", "backend", rf_backend_name(r->backend), "usable",
                     r->usable, "failed", r->failed, "why", json_text(r->why));
  return json_pack("{s:s, s:b, s:b, s:f, s:I, s:I, s:I, s:f, s:f, s:o, s:f, s:f, s:f, s:o, s:I, "
                   "s:I, s:I}",
                   "backend", rf_backend_name(r->backend), "usable", 1, "failed", 0, "seconds",
                   r->seconds, "reads", (json_int_t)r->reads, "writes", (json_int_t)r->writes,
                   "bytes", (json_int_t)r->bytes, "iops", per_second(r, (double)ios(r)),
                   "mib_per_second", mib_per_second(r), "latency_us", latency_json(r),
                   "cpu_us_per_io", per_io(r, r->cpu_seconds * 1e6), "check_cpu_us_per_io",
                   per_io(r, r->check_cpu_seconds * 1e6), "system_calls_per_io",
                   per_io(r, (double)system_calls(r)), "verified", verified_json(r),
                   "verified_bytes", (json_int_t)r->verified_bytes, "fell_back",
                   (json_int_t)fell_back(r), "retried", (json_int_t)r->counters.retried);
}

static json_t *host_json(const struct rf_limits *limits) {
  struct utsname name;
  if (uname(&name) != 0) memset(&name, 0, sizeof(name));
  return json_pack("{s:o, s:o, s:o, s:I}", "name", json_text(name.nodename), "kernel",
                   json_text(limits->kernel), "machine", json_text(name.machine), "cpus",
                   (json_int_t)sysconf(_SC_NPROCESSORS_ONLN));
}

static json_t *file_json(const struct bench_options *options, const struct bench_file *file) {
  return json_pack("{s:o, s:b, s:b, s:s, s:b, s:I}", "path", json_text(file->path), "made",
                   file->made, "kept", !file->made || options->keep, "file_system",
                   file->info.file_system, "block_device", file->info.block_device, "size",
                   (json_int_t)file->size);
}

static json_t *work_json(const struct bench_options *options, const struct bench_file *file) {
  return json_pack("{s:s, s:I, s:I, s:b, s:f, s:s}", "rw", bench_mode_name(options->mode), "block",
                   (json_int_t)file->block, "depth", (json_int_t)options->depth, "direct",
                   options->direct, "seconds", options->seconds, "verification",
                   how_verified(options, file));
}

enum tool_exit bench_print_json(const char *command, const struct bench_options *options,
                                const struct bench_file *file, const struct rf_limits *limits,
                                const struct bench_result *results, unsigned count,
                                enum tool_exit status) {
  json_t *array = json_array();
  for (unsigned i = 0; i < count; i++) json_array_append_new(array, result_json(&results[i]));
  json_t *root =
      json_pack("{s:o, s:o, s:o, s:o}", "host", host_json(limits), "file", file_json(options, file),
                "work", work_json(options, file), "results", array);
  return json_print(command, root, status);
}
