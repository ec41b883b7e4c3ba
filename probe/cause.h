// SPDX-License-Identifier: Apache-2.0
/* From a refusal to its cause, a sentence and a remedy. */
#ifndef RINGFALL_PROBE_CAUSE_H
#define RINGFALL_PROBE_CAUSE_H

#include <ringfall/verdict.h>

#include "probe/limits.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the refusal is judged by, all read before the backends were tried. */
struct rf_surroundings {
  struct rf_limits limits;
  struct rf_rights rights;
  bool in_directory; /* the trial's file is in the caller's directory, not in memory */
};

/* What was refused.  error == 0: nothing. */
struct rf_refusal {
  enum rf_stage stage;
  const char *call;  /* the system call, static string */
  int error;         /* errno, positive */
  const char *deed;  /* what was being done with it; NULL: the call itself is all there is to say */
  bool wrong_answer; /* `error` stands for something that was no errno: deed tells the story */
  bool killed;       /* there was no answer at all: a seccomp filter killed the process */
};

/* Which stage a system call belongs to. */
enum rf_stage rf_stage_of(const char *call);

/* Fills in stage, syscall, error, cause, why and remedy.  The other fields are set already. */
void rf_explain(const struct rf_surroundings *around, const struct rf_refusal *refusal,
                struct rf_verdict *verdict);

#ifdef __cplusplus
}
#endif
#endif
