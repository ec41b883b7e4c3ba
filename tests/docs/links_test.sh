#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Links between pages, and to files, go somewhere. See links.py.
set -euo pipefail
# In the source tree, which the runfiles are links to.
root=$(cd "$(dirname "$(readlink -f tests/docs/links.py)")/../.." && pwd)
exec python3 -B "$root/tests/docs/links.py" "$root"
