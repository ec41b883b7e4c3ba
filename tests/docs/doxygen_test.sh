#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every public declaration is documented: Doxygen reads the headers, and a warning is a failure.
set -euo pipefail
if ! command -v doxygen >/dev/null; then
  echo "SKIPPED: no Doxygen"
  exit 0
fi

scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/doxygen.XXXXXX")
{
  cat docs/Doxyfile
  echo "OUTPUT_DIRECTORY = $scratch"
} >"$scratch/Doxyfile"
doxygen "$scratch/Doxyfile"

# What it has read: the headers, their functions, and what stands beside them.
page=$scratch/html/queue_8h.html
grep -q 'rf_queue_open' "$page" && grep -q 'The depth holds whatever the kernel grants' "$page" ||
  { echo "FAILED: rf_queue_open() and its words are not in the pages"; exit 1; }
for header in engine/include/ringfall/*.h probe/include/ringfall/*.h; do
  page=$scratch/html/$(basename "$header" .h)_8h.html
  [ -s "$page" ] || { echo "FAILED: $header has no page"; exit 1; }
done
