#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The blocks of code in the pages compile, run, and print what the pages say. See snippets.py.
set -euo pipefail
mapfile -t pages < <(find -L docs -name '*.md' | LC_ALL=C sort)
exec python3 -B tests/docs/snippets.py README.md "${pages[@]}"
