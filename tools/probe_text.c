// SPDX-License-Identifier: Apache-2.0
/* The findings of `ringfall probe` in words. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <ringfall/version.h>

#include "colour.h"
#include "probe_report.h"

#define COLUMNS 90

/* "  NAME      TEXT", broken between words, with the rest of TEXT below its beginning. */
static void print_field(int indent, int width, const char *name, const char *text) {
  printf("%*s%-*s", indent, "", width, name);
  const int room = COLUMNS - indent - width;
  int used = 0;
  while (*text != '\0') {
    const int word = (int)strcspn(text, " \n");
    if (used > 0 && used + 1 + word > room) {
      printf("\n%*s", indent + width, "");
      used = 0;
    }
    used += printf("%s%.*s", used > 0 ? " " : "", word, text);
    text += word;
    text += strspn(text, " \n");
  }
  putchar('\n');
}

/* A command is printed in one piece, to be copied. */
static void print_whole(int indent, int width, const char *name, const char *text) {
  printf("%*s%-*s%s\n", indent, "", width, name, text);
}

static void print_heading(const char *heading) {
  printf("\n%s%s%s\n", colour_on(COLOUR_HEADING), heading, colour_off());
}

static void print_refusal(const struct rf_verdict *verdict) {
  struct errno_text name;
  char call[160];
  print_field(4, 10, "stage", rf_stage_name(verdict->stage));
  snprintf(call, sizeof(call), "%s: %s (%s)", verdict->syscall, errno_name(verdict->error, &name),
           strerror(verdict->error));
  print_field(4, 10, "call", *verdict->syscall != '\0' ? call : call + 2);
  print_field(4, 10, "cause", rf_cause_name(verdict->cause));
  if (*verdict->why != '\0') print_field(4, 10, "why", verdict->why);
  if (*verdict->remedy != '\0') print_whole(4, 10, "remedy", verdict->remedy);
}

static void print_verdict(const struct rf_verdict *verdict, bool selected) {
  const char *state = !verdict->usable      ? "does not work here"
                      : verdict->error != 0 ? "works, with less than was asked for"
                                            : "works";
  const enum colour colour = !verdict->usable      ? COLOUR_BAD
                             : verdict->error != 0 ? COLOUR_WARNING
                                                   : COLOUR_GOOD;
  printf("  %-10s%s%s%s%s\n", rf_backend_name(verdict->backend), colour_on(colour), state,
         colour_off(), selected ? "   <- selected" : "");
  if (verdict->usable) {
    char depth[64];
    snprintf(depth, sizeof(depth), "%u of %u asked for", verdict->depth, verdict->depth_asked);
    print_field(4, 10, "depth", depth);
    if (*verdict->features != '\0') print_field(4, 10, "uses", verdict->features);
  }
  if (verdict->error != 0 || verdict->stage != RF_STAGE_NONE) print_refusal(verdict);
}

static void print_limit(const char *name, int64_t value, const char *meaning) {
  char text[160];
  if (value < 0)
    snprintf(text, sizeof(text), "the kernel does not say");
  else if (value == INT64_MAX)
    snprintf(text, sizeof(text), "unlimited");
  else
    snprintf(text, sizeof(text), "%" PRId64 "%s", value, meaning);
  print_field(2, 28, name, text);
}

static void print_size_limit(const char *name, int64_t value) {
  struct bytes_text size;
  if (value < 0 || value == INT64_MAX)
    print_limit(name, value, "");
  else
    print_field(2, 28, name, bytes_name((uint64_t)value, &size));
}

static void print_limits(const struct rf_limits *limits) {
  static const char *const disabled[] = {" (allowed to all)", " (to one group only)",
                                         " (to nobody)"};
  static const char *const seccomp[] = {" (no filter)", " (strict)", " (a filter is in force)"};
  const int64_t d = limits->io_uring_disabled;
  const int64_t s = limits->seccomp;
  print_heading("Limits");
  print_field(2, 28, "kernel", limits->kernel);
  print_size_limit("locked memory (ulimit -l)", limits->memlock);
  print_limit("open files (ulimit -n)", limits->nofile, "");
  print_size_limit("file size (ulimit -f)", limits->fsize);
  print_limit("fs.aio-nr", limits->aio_nr, " requests granted on this host");
  print_limit("fs.aio-max-nr", limits->aio_max_nr, " at most");
  print_limit("kernel.io_uring_disabled", d, d >= 0 && d <= 2 ? disabled[d] : "");
  print_limit("seccomp", s, s >= 0 && s <= 2 ? seccomp[s] : "");
}

static const char *nowait_words(const struct rf_file_info *file) {
  if (file->nowait_read && file->nowait_write) return "for reads and writes";
  if (file->nowait_read) return "for reads only";
  return file->nowait_write ? "for writes only" : "not supported";
}

static void print_direct(const struct rf_directory *directory) {
  const struct rf_file_info *file = &directory->file;
  struct errno_text name;
  char text[200];
  if (directory->direct_error != 0) {
    snprintf(text, sizeof(text), "refused: %s (%s)", errno_name(directory->direct_error, &name),
             strerror(directory->direct_error));
    print_field(2, 28, "O_DIRECT", text);
    return;
  }
  print_field(2, 28, "O_DIRECT", "works");
  snprintf(text, sizeof(text), "memory %u, offset and length %u bytes (source: %s)",
           file->memory_align, file->offset_align,
           rf_alignment_source_name(file->alignment_source));
  print_field(2, 28, "direct alignment", text);
}

static void print_directory(const char *path, const struct rf_directory *directory) {
  struct bytes_text size;
  struct errno_text name;
  char text[96];
  printf("\n%sDirectory%s %s\n", colour_on(COLOUR_HEADING), colour_off(), path);
  if (!directory->usable) {
    print_field(2, 28, "usable", "no");
    snprintf(text, sizeof(text), "%s: %s", directory->syscall, errno_name(directory->error, &name));
    print_field(2, 28, "call", text);
    print_field(2, 28, "why", directory->why);
    return;
  }
  print_field(2, 28, "usable", "yes: a file was written, read back and compared");
  print_field(2, 28, "file system", directory->file.file_system);
  print_direct(directory);
  print_field(2, 28, "preferred block", bytes_name(directory->file.block_size, &size));
  print_field(2, 28, "NOWAIT", nowait_words(&directory->file));
  print_field(2, 28, "free space", bytes_name(directory->free_bytes, &size));
}

void probe_print_text(const struct probe_findings *findings) {
  const struct rf_host *host = &findings->host;
  printf("ringfall %s on Linux %s\n\n", rf_version_string(), host->limits.kernel);
  print_field(0, 13, "Selected", findings->chosen ? rf_backend_name(host->selected) : "none");
  if (*findings->explanation != '\0') print_field(0, 13, "Why", findings->explanation);
  if (findings->environment != NULL)
    printf("%-13sRINGFALL_BACKEND=%s\n", "Environment", findings->environment);
  print_heading("Backends, best first");
  for (int i = 0; i < RF_BACKENDS; i++)
    print_verdict(&host->verdicts[i],
                  findings->chosen && host->verdicts[i].backend == host->selected);
  print_limits(&host->limits);
  if (findings->directory != NULL) print_directory(findings->path, findings->directory);
}
