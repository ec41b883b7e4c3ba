#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# fio's verify workloads over ringfall's engine, on each backend: everything that is written is read
# back and its checksum compared by fio.  Also what the engine says when something is wrong.
#   tests/fio/run.sh [FIO_SOURCE]
# FIO_SOURCE: a configured source tree of the fio in PATH; without it, fio and its source are
# installed and fetched here (Debian, Ubuntu).  The files are made in TMPDIR, which is to be on a
# disk.  The last line counts; 0 means that nothing failed.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
passed=0
failed=0
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

give_up() {
  echo "fio: FAILED: $*"
  [ ! -s "$scratch/log" ] || tail -n 20 "$scratch/log"
  echo "0 passed, 1 failed"
  exit 1
}

pass() { passed=$((passed + 1)); }

# fail WHAT: shows what fio said.
fail() {
  failed=$((failed + 1))
  echo "fio: FAILED: $1"
  tail -n 20 "$scratch/log"
}

install() {
  local as_root=
  [ "$(id -u)" -eq 0 ] || as_root=sudo
  command -v apt-get >/dev/null || give_up "missing: $*; and no apt-get to install it with"
  { $as_root apt-get install -q -y --no-install-recommends "$@" ||
    { $as_root apt-get update -q &&
      $as_root apt-get install -q -y --no-install-recommends "$@"; }; } >"$scratch/log" 2>&1 ||
    give_up "missing: $*; apt-get cannot install it"
}

command -v fio >/dev/null || install fio
source=${1:-}
if [ -z "$source" ]; then
  command -v make >/dev/null && command -v gcc >/dev/null || install gcc make libc6-dev
  source=$scratch/source
  "$root/tools/fio/source" "$source" >"$scratch/log" 2>&1 || give_up "no source of fio"
fi
engine=$scratch/ringfall_fio.so
"$root/tools/fio/build" "$source" "$engine" >"$scratch/log" 2>&1 || give_up "the engine does not build"

# ringfall OPTIONS...: one run of fio in $scratch/data, what it said in $scratch/log.  FSIZE: the
# largest file it may write, in KiB.
ringfall() {
  mkdir -p "$scratch/data"
  (
    cd "$scratch" || exit 1
    ulimit -f "${FSIZE:-unlimited}"
    exec timeout 120 fio --name=check --directory="$scratch/data" \
      --ioengine=external:"$engine" "$@"
  ) >"$scratch/log" 2>&1
}

# A line such as "  read: IOPS=..." shows that something was read back.
read_back() { grep -Eq '^ +read: ?IOPS=[1-9]' "$scratch/log"; }

# verifies WHAT OPTIONS...: writes at random, reads all back, compares.
verifies() {
  local what=$1
  shift
  rm -rf "$scratch/data"
  if ringfall --rw=randwrite --verify=crc32c --verify_fatal=1 --do_verify=1 "$@" && read_back; then
    pass
  else
    fail "$what: $*"
  fi
}

# refuses WHAT WORDS OPTIONS...: fio fails, and says so in these words.
refuses() {
  local what=$1 words=$2
  shift 2
  rm -rf "$scratch/data"
  if ! ringfall "$@" && grep -Eq "$words" "$scratch/log"; then
    pass
  else
    fail "$what: not refused with '$words': $*"
  fi
}

# build_refuses WORDS TREE: tools/fio/build says so, in one line, with status 2.
build_refuses() {
  "$root/tools/fio/build" "$2" "$scratch/none.so" >"$scratch/log" 2>&1
  if [ $? -eq 2 ] && [ "$(wc -l <"$scratch/log")" -eq 1 ] && grep -q "$1" "$scratch/log"; then
    pass
  else
    fail "tools/fio/build $2: not refused with '$1'"
  fi
}

# A byte that changed on disk must be found, or all the other checks are worth nothing.
finds_a_changed_byte() {
  local options=(--rw=randwrite --verify=crc32c --size=1m --bs=4k --iodepth=8 --filename=file "$@")
  rm -rf "$scratch/data"
  ringfall "${options[@]}" --do_verify=0 || { fail "writing: $*"; return; }
  ringfall "${options[@]}" --verify_only || { fail "verifying what is right: $*"; return; }
  printf '\377\0\377\0' | dd of="$scratch/data/file" bs=1 seek=300000 conv=notrunc status=none
  if ! ringfall "${options[@]}" --verify_only && grep -Eq 'verify: bad|verify failed' "$scratch/log"; then
    pass
  else
    fail "a changed byte is not found: $*"
  fi
}

holds_kib() { [ "$(du -k "$scratch/disk" | cut -f1)" -eq "$1" ]; }

# fio trims block devices only.  What it wrote after a trim must be there.
trims() {
  local device
  truncate -s 8m "$scratch/disk"
  if ! device=$(losetup --find --show "$scratch/disk" 2>&1); then
    echo "fio: trims are not checked: that needs a loop device: $device"
    return
  fi
  set -- --directory=/dev --filename="$(basename "$device")" --size=8m --iodepth=8 "$@"
  if ringfall --rw=randtrimwrite --bs=4k --direct=1 "$@" && holds_kib 8192 &&
    ringfall --rw=trim --bs=64k "$@" && holds_kib 0; then
    pass
  else
    fail "trims: $*"
  fi
  losetup --detach "$device"
}

check_backend() {
  verifies "direct, depth 32" "$@" --size=16m --bs=4k --iodepth=32 --direct=1 \
    --iodepth_batch_submit=16 --iodepth_batch_complete_min=1 --iodepth_batch_complete_max=32
  verifies "direct, depth 1, a sync every 32" "$@" --size=1m --bs=4k --iodepth=1 --direct=1 --fsync=32
  verifies "direct, mixed sizes, backlog" "$@" --size=8m --bssplit=4k/50:16k/30:128k/20 \
    --iodepth=32 --direct=1 --verify_backlog=64 --verify_backlog_batch=16 --fdatasync=32
  verifies "direct, polled for" "$@" --size=2m --bs=4k --iodepth=8 --direct=1 \
    --iodepth_batch_complete_min=0
  verifies "buffered, odd sizes, backlog" "$@" --size=16m --bsrange=512-48k --bs_unaligned \
    --iodepth=32 --verify_backlog=128 --fsync=64
  verifies "buffered, depth 1" "$@" --size=4m --bs=4k --iodepth=1 --verify_backlog=8
  verifies "vectors, nothing registered" "$@" --size=4m --bs=8k --iodepth=16 --direct=1 \
    --nonvectored=0 --fixedbufs=0 --registered=0
  verifies "many files, opened and closed, two threads" "$@" --size=4m --bs=4k --iodepth=8 \
    --nrfiles=16 --openfiles=3 --file_service_type=roundrobin --numjobs=2 --thread=1
  verifies "two processes, reads among writes" "$@" --rw=randrw --size=4m --bs=4k \
    --iodepth=32 --direct=1 --numjobs=2 --sync_file_range=write:16
  finds_a_changed_byte "$@"
  trims "$@"
  refuses "a misaligned transfer" 'err=22' "$@" --rw=randread --size=1m --bs=1000 --direct=1 \
    --blockalign=1
  FSIZE=512 refuses "a file too large" 'err=27' "$@" --rw=write --size=4m --bs=64k \
    --iodepth=4 --fallocate=none
}

for backend in io_uring libaio threads; do
  start=$SECONDS before=$failed
  if ! ringfall --backend=$backend --rw=write --size=64k --bs=4k && [ $backend != threads ] &&
    grep -q "^ringfall: .*required" "$scratch/log"; then
    echo "fio: $backend does not work here: $(grep -m1 '^ringfall: ' "$scratch/log")"
    continue
  fi
  check_backend --backend=$backend
  echo "fio: $backend: $((failed - before)) failed ($((SECONDS - start)) s)"
done
before=$failed
verifies "auto, may block" --policy=may_block --size=8m --bsrange=1k-16k --iodepth=32 --fsync=32
verifies "auto, direct" --explain --size=8m --bs=4k --iodepth=32 --direct=1 --restricted
verifies "auto, huge pages, kernel thread" --size=16m --bs=256k --iodepth=32 --direct=1 \
  --sqpoll_idle=10
RINGFALL_BACKEND=bogus refuses "a backend nobody knows" 'bogus' --rw=write --size=64k
refuses "a depth beyond the limit" 'iodepth 70000: a queue has 65536' --rw=write --size=1m --bs=512 --iodepth=70000
echo "fio: auto and options: $((failed - before)) failed"

mkdir "$scratch/empty" "$scratch/old"
build_refuses "no such directory" "$scratch/missing"
build_refuses "not a source tree" "$scratch/empty"
touch "$scratch/old/ioengines.h"
build_refuses "not configured" "$scratch/old"
touch "$scratch/old/config-host.h"
echo '#define FIO_IOOPS_VERSION 30' >"$scratch/old/ioengines.h"
build_refuses "version 30" "$scratch/old"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
