#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every public declaration is documented: Doxygen reads the headers, and a warning is a failure.
set -euo pipefail
if ! command -v doxygen >/dev/null; then
  echo "FAILED: this test needs doxygen, and it is not here: apt-get install doxygen"
  exit 1
fi

scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/doxygen.XXXXXX")
{
  cat docs/Doxyfile
  echo "OUTPUT_DIRECTORY = $scratch"
} >"$scratch/Doxyfile"
doxygen "$scratch/Doxyfile"

# It has read the headers, and what stands beside their declarations.
if ! grep -q 'The depth holds whatever the kernel grants' "$scratch/html/queue_8h.html"; then
  echo "FAILED: rf_queue_open() is without its words"
  exit 1
fi
for header in engine/include/ringfall/*.h probe/include/ringfall/*.h; do
  page=$scratch/html/$(basename "$header" .h)_8h.html
  [ -s "$page" ] || { echo "FAILED: $header has no page"; exit 1; }
done
