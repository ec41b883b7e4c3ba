#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the program says of its probes: all are there, and each has the same number of arguments
# wherever it was compiled into (perf takes them as one event only then).
set -u
traced=tests/tracing/traced
command -v readelf >/dev/null || { echo "readelf is missing: apt-get install binutils"; exit 1; }
echo '#include <sys/sdt.h>' | cc -E -x c - >/dev/null 2>&1 || 
  { echo "sys/sdt.h is missing: apt-get install systemtap-sdt-dev"; exit 1; }
status=0

# expect NAME COUNT: the probe is there, and always with COUNT arguments.
expect() {
  local counts
  counts=$(readelf -nW "$traced" | grep -A3 'Provider: ringfall' | grep -A2 "Name: $1\$" |
    sed -n 's/.*Arguments: //p' | awk '{ print NF }' | sort -u | tr '\n' ' ')
  [ "$counts" = "$2 " ] || { echo "$1: arguments '$counts', expected '$2 '"; status=1; }
}
expect submit 6
expect complete 5
expect fall_back 4
expect fail_over 4
exit $status
