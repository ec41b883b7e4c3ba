// SPDX-License-Identifier: Apache-2.0
/* What the parts of `ringfall bench` share: the options, the file, the results. */
#ifndef RINGFALL_TOOLS_BENCH_H
#define RINGFALL_TOOLS_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include <ringfall/counters.h>
#include <ringfall/verdict.h>

#include "backend_choice.h"
#include "engine/new_file.h"
#include "pattern.h"
#include "tool.h"

enum bench_mode {
  BENCH_READ,
  BENCH_WRITE,
  BENCH_RANDREAD,
  BENCH_RANDWRITE,
  BENCH_MIXED, /* random, 70 reads to 30 writes */
};
const char *bench_mode_name(enum bench_mode mode); /* "randread" */

struct bench_options {
  const char *directory; /* NULL: $TMPDIR or /tmp */
  const char *file;      /* NULL: one of bench's own */
  const char *config;    /* NULL: not given */
  uint64_t size;         /* 0: not given */
  uint64_t block;
  unsigned depth;
  enum bench_mode mode;
  double seconds;
  bool direct;
  bool overwrite;
  bool keep;
  bool json;
  bool help;
  struct backend_choice choice;
};

static inline bool bench_writes(const struct bench_options *options) {
  return options->mode != BENCH_READ && options->mode != BENCH_RANDREAD;
}

/* What is known of the content, and so how it is checked. */
enum bench_content {
  CONTENT_WRITTEN, /* by this run: every block's version is known */
  CONTENT_STAMPED, /* by an earlier run that kept the file: all but the versions is known */
  CONTENT_FOREIGN, /* somebody else's: a sample is compared with pread() */
};

struct bench_file {
  char path[4096];      /* the file, or the directory of one without a name */
  char directory[4096]; /* where it is */
  bool made;            /* by bench; goes away, unless it is kept */
  struct rf_new_file new_file;
  int fd;
  struct rf_file_info info;
  uint64_t size; /* whole blocks */
  uint64_t block;
  uint64_t blocks;
  enum bench_content content;
  struct pattern pattern;
  uint32_t *versions; /* of each block; NULL while all of them are 1 */
};

/* Finds or makes the file.  TOOL_OK, or a line was printed; bench_file_close() in any case. */
enum tool_exit bench_file_open(const char *command, struct bench_file *file,
                               const struct bench_options *options);

/* Gives a made file its name, if it is to be kept. */
enum tool_exit bench_file_keep(const char *command, struct bench_file *file,
                               const struct bench_options *options);

void bench_file_close(struct bench_file *file);

/* The version that a block must have. */
static inline uint64_t bench_file_version(const struct bench_file *file, uint64_t block) {
  if (file->content == CONTENT_STAMPED) return PATTERN_ANY_VERSION;
  return file->versions != NULL ? file->versions[block] : 1;
}

enum bench_verified {
  VERIFIED_NOT, /* nothing was compared */
  VERIFIED_YES,
  VERIFIED_WRONG,
};

struct bench_result {
  enum rf_backend_id backend;
  bool usable;
  char why[512]; /* a few words, when not usable or failed */
  bool failed;   /* it stopped with an error */
  double seconds;
  uint64_t reads, writes;      /* that went well */
  uint64_t bytes;              /* moved by them */
  double cpu_seconds;          /* of the whole process, without the checking */
  double check_cpu_seconds;    /* spent on making and checking data */
  struct rf_counters counters; /* of the timed run */
  struct rf_latency latency;
  enum bench_verified verified;
  uint64_t verified_bytes;
};

/* Reads the whole file back with pread() and compares it; adds to verified and verified_bytes.
 * TOOL_OK also if the data is wrong (a line says so). */
enum tool_exit bench_file_verify(const char *command, struct bench_file *file,
                                 struct bench_result *result);

/* Runs one backend for options->seconds.  TOOL_OK also if it failed or its data was wrong: that is
 * in the result, and a line was printed.  TOOL_STOPPED by a signal. */
enum tool_exit bench_run(const char *command, const struct bench_options *options,
                         struct bench_file *file, struct bench_result *result);

/* The report: a heading, a row as each result comes, and a footnote; or all of it in JSON. */
void bench_print_heading(const struct bench_options *options, const struct bench_file *file,
                         const struct rf_limits *limits);
void bench_print_row(const struct bench_result *result);
void bench_print_footnotes(const struct bench_options *options, const struct bench_file *file,
                           const struct bench_result *results, unsigned count);
enum tool_exit bench_print_json(const char *command, const struct bench_options *options,
                                const struct bench_file *file, const struct rf_limits *limits,
                                const struct bench_result *results, unsigned count,
                                enum tool_exit status);

#endif
