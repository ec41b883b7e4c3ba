#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the commands of docs/tracing.md, as they stand there, and looks at what they print.
set -u
PROGRAM=$PWD/tests/tracing/traced
scratch=$(mktemp -d)
trap 'perf probe --quiet --del "sdt_ringfall:*" 2>/dev/null; rm -rf "$scratch"' EXIT
export PROGRAM
export HOME=$scratch # perf keeps what it learned of programs there
export BPFTRACE_STRLEN=64

[ "$(id -u)" -eq 0 ] || { echo "needs root"; exit 1; }
for tool in bpftrace:bpftrace perf:linux-perf readelf:binutils; do
  command -v "${tool%:*}" >/dev/null || { echo "${tool%:*} is missing: apt-get install ${tool#*:}"; exit 1; }
done
[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
# Of the host, and not of these probes: a program of bpftrace's that attaches to nothing, and a file.
if ! said=$(bpftrace -e 'BEGIN { exit(); }' 2>&1) || ! [ -w /sys/kernel/tracing/uprobe_events ]; then
  echo "SKIPPED: this host lets nobody trace: ${said:-no uprobe_events}"
  exit 0
fi

# The page's commands, in their order, as files 1.sh, 2.sh, ...
awk -v to="$scratch" '/^```sh/ { n++; inside = 1; next } /^```/ { inside = 0; next }
  inside { print > (to "/" n ".sh") }' docs/tracing.md
[ "$(find "$scratch" -name '*.sh' | wc -l)" -eq 5 ] || { echo "the page has other commands than this test"; exit 1; }

status=0
# expect N COMMAND PATTERN...: the page's Nth command, tracing COMMAND, prints lines like these.
expect() {
  local number=$1 pattern
  export COMMAND=$2
  shift 2
  (cd "$scratch" && timeout 120 bash "$number.sh") >"$scratch/output" 2>&1 ||
    { echo "command $number failed:"; cat "$scratch/output"; status=1; return; }
  for pattern in "$@"; do
    grep -qE "$pattern" "$scratch/output" && continue
    echo "command $number: no line like '$pattern' in:"
    cat "$scratch/output"
    status=1
  done
}

expect 1 "" 'Provider: ringfall'
expect 2 "$PROGRAM $scratch/data" '^@us\[2\]:' '^@us\[6\]:' '^@us\[1\]:'
expect 3 "$PROGRAM $scratch/data error=EIO:write@8" '^kind 2, user_data 107: status -5 after 0 bytes$' \
  '^kind 6, user_data 200: status -125 after 0 bytes$'
expect 4 "$PROGRAM $scratch/data lack:fdatasync death=EPERM:io_uring,@3 death=EPERM:libaio,@3" '^@\[6, 0\]: 1$' '^backend 0 died \(-1\), now [12]$'
expect 5 "$PROGRAM $scratch/data" 'sdt_ringfall:submit: .*arg2=107' 'sdt_ringfall:complete: .*arg2=300'
exit $status
