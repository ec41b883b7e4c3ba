// SPDX-License-Identifier: Apache-2.0
/* The findings of `ringfall probe` in JSON. */
#include "json_output.h"
#include "probe_report.h"

static json_t *errno_json(int error) {
  struct errno_text name;
  return json_text(error != 0 ? errno_name(error, &name) : NULL);
}

static json_t *verdict_json(const struct rf_verdict *v) {
  return json_pack("{s:s, s:b, s:s, s:o, s:o, s:i, s:s, s:o, s:o, s:I, s:I, s:o}", "name",
                   rf_backend_name(v->backend), "usable", v->usable, "stage",
                   rf_stage_name(v->stage), "syscall", json_text_or_null(v->syscall), "errno",
                   errno_json(v->error), "errno_value", v->error, "cause", rf_cause_name(v->cause),
                   "why", json_text_or_null(v->why), "remedy", json_text_or_null(v->remedy),
                   "depth", (json_int_t)v->depth, "depth_asked", (json_int_t)v->depth_asked,
                   "features", json_text(v->features));
}

static json_t *backends_json(const struct rf_host *host) {
  json_t *backends = json_array();
  for (int i = 0; i < RF_BACKENDS; i++)
    json_array_append_new(backends, verdict_json(&host->verdicts[i]));
  return backends;
}

/* null: not known.  Unlimited is the largest number there is, as in the library. */
static json_t *limits_json(const struct rf_limits *l) {
  return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "kernel", json_text(l->kernel),
                   "memlock", json_limit(l->memlock), "nofile", json_limit(l->nofile), "fsize",
                   json_limit(l->fsize), "aio_nr", json_limit(l->aio_nr), "aio_max_nr",
                   json_limit(l->aio_max_nr), "io_uring_disabled", json_limit(l->io_uring_disabled),
                   "seccomp", json_limit(l->seccomp));
}

static json_t *directory_json(const char *path, const struct rf_directory *d) {
  if (d == NULL) return json_null();
  const struct rf_file_info *f = &d->file;
  if (!d->usable)
    return json_pack("{s:o, s:b, s:s, s:o, s:i, s:s}", "path", json_text(path), "usable", 0,
                     "syscall", d->syscall, "errno", errno_json(d->error), "errno_value", d->error,
                     "why", d->why);
  return json_pack("{s:o, s:b, s:s, s:b, s:o, s:I, s:I, s:s, s:I, s:b, s:b, s:I}", "path",
                   json_text(path), "usable", 1, "file_system", f->file_system, "direct",
                   d->direct_error == 0, "direct_errno", errno_json(d->direct_error),
                   "memory_align", (json_int_t)f->memory_align, "offset_align",
                   (json_int_t)f->offset_align, "alignment_source",
                   rf_alignment_source_name(f->alignment_source), "block_size",
                   (json_int_t)f->block_size, "nowait_read", f->nowait_read, "nowait_write",
                   f->nowait_write, "free_bytes", (json_int_t)d->free_bytes);
}

enum tool_exit probe_print_json(const char *command, const struct probe_findings *findings,
                                enum tool_exit status) {
  const struct rf_host *host = &findings->host;
  const char *selected = findings->chosen ? rf_backend_name(host->selected) : NULL;
  json_t *root = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "selected", json_text(selected),
                           "explanation", json_text_or_null(findings->explanation), "environment",
                           json_text(findings->environment), "backends", backends_json(host),
                           "limits", limits_json(&host->limits), "directory",
                           directory_json(findings->path, findings->directory));
  return json_print(command, root, status);
}
