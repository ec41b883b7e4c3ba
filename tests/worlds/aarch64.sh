#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ringfall for aarch64, built on another machine with Debian's cross compiler and, from Debian's
# packages for arm64, the libraries. The programs are linked statically.
#
#     tests/worlds/aarch64.sh [--cache DIR] [--out DIR] build [TARGET...] | run
#
#   build          builds the targets (the default: all that `run` runs) and copies the programs
#   run            builds, and runs them by QEMU's emulation of a process, which has none of the
#                  system calls of io_uring and Linux AIO: the probe must say so and select threads,
#                  and the conformance suite must hold on them. Prints a line for each program.
#   --cache DIR    keeps the libraries for a week, and what Bazel has built; default
#                  ~/.cache/ringfall-worlds
#   --out DIR      where the programs are copied to, under their targets' names
#
# Needs a Debian machine that is not aarch64 itself; as root it installs what is missing.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
. tests/worlds/common.sh

readonly PREFIX=aarch64-linux-gnu
readonly PACKAGES=(g++-$PREFIX qemu-user-static python3 debian-archive-keyring)
readonly LIBRARIES=(liburing-dev libaio-dev libgtest-dev libgmock-dev libjansson-dev libssl-dev)
readonly SUITES=(limits process wait ops data)
# What QEMU does not do as a kernel does: it looks at all of a buffer before it transfers a part, and
# it has no pwritev2() with flags.
readonly NOT_EMULATED='*MemoryThatEndsTellWhatCameBefore*:*DurableWritesWriteTheSame*'

cache=$DEFAULT_CACHE
out=
while [[ ${1:-} == --* ]]; do
  case $1 in
    --cache) cache=$2 ;;
    --out) out=$2 ;;
    *) break ;;
  esac
  shift 2 || exit 2
done
case ${1:-} in
  build | run) command=$1 ;;
  *)
    echo "usage: $0 [--cache DIR] [--out DIR] build [TARGET...] | run" >&2
    exit 2
    ;;
esac
shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  targets=(//tools:ringfall //tests:probe_test)
  for suite in "${SUITES[@]}"; do targets+=("//tests:conformance_${suite}_test"); done
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$cache/aarch64" || exit
cache=$(cd "$cache/aarch64" && pwd)
out=${out:-$scratch/out}
mkdir -p "$out" || exit
out=$(cd "$out" && pwd)

# apt COMMAND...: apt for this suite's packages of the other architecture, with lists of its own.
apt() {
  local home=$scratch/apt
  apt-get -q -o Dir::Etc::SourceList="$home/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$home/lists" -o Dir::Cache="$home/cache" -o Acquire::Languages=none \
    -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root -o APT::Architecture=arm64 \
    -o APT::Architectures=arm64 "$@"
}

# The libraries, unpacked in $cache/root. They are of the release that the cross compiler's libc is.
fetch_libraries() {
  fresh "$cache/root" && return
  local suite package
  suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
  mkdir -p "$scratch/apt/lists/partial" "$scratch/apt/cache/archives/partial" "$scratch/debs" &&
    echo "deb [signed-by=$KEYRING] $MIRROR $suite main" >"$scratch/apt/sources.list" &&
    apt update && (cd "$scratch/debs" && apt download "${LIBRARIES[@]}") || return 1
  rm -rf "$cache/root" "$cache/root.new"
  for package in "$scratch"/debs/*.deb; do
    dpkg-deb -x "$package" "$cache/root.new" || return 1
  done
  touch "$cache/root.new" && mv "$cache/root.new" "$cache/root"
}

# Bazel finds a compiler's other tools by their plain names in the compiler's own folder.
make_tools() {
  local tool
  mkdir -p "$cache/bin" && printf '#!/bin/sh\nexec %s-gcc "$@"\n' "$PREFIX" >"$cache/bin/gcc" &&
    chmod 755 "$cache/bin/gcc" || return 1
  for tool in ar as gcov ld ld.gold nm objcopy objdump strip; do
    ln -sfn "$(command -v "$PREFIX-$tool")" "$cache/bin/$tool" || return 1
  done
}

build() {
  local target program usr=$cache/root/usr
  tools/bazel --output_base="$cache/base" --host_jvm_args=-Xmx1g --max_idle_secs=60 \
    build --noshow_progress --symlink_prefix="$scratch/link-" --config=static \
    --repo_env=CC="$cache/bin/gcc" --repo_env=AR="$cache/bin/ar" --repo_env=LD="$cache/bin/ld" \
    --repo_env=CPPFLAGS="-I$usr/include -I$usr/include/$PREFIX" \
    --repo_env=LDFLAGS="-L$usr/lib/$PREFIX" \
    --repo_env=RINGFALL_BUILD_AIO=1 --repo_env=RINGFALL_BUILD_URING=1 "${targets[@]}" || return 1
  for target in "${targets[@]}"; do
    program=${target#//}
    "$PREFIX-strip" -o "$out/${program##*[/:]}" "$scratch/link-bin/${program/:/\/}" || return 1
  done
}

check_probe() {
  "$qemu" "$out/ringfall" probe --json /var/tmp >"$scratch/probe.json" || return 1
  python3 - "$scratch/probe.json" <<'END'
import json, sys
host = json.load(open(sys.argv[1]))
assert host["selected"] == "threads", host["selected"]
calls = {"io_uring": "io_uring_setup", "libaio": "io_setup"}
for backend in host["backends"]:
    call = calls.get(backend["name"])
    if call is None:
        assert backend["usable"] and backend["cause"] == "none", backend
        continue
    assert not backend["usable"] and backend["errno"] == "ENOSYS", backend
    assert backend["syscall"] == call and backend["cause"] == "other", backend
    assert f"{call} answered ENOSYS" in backend["why"], backend
print(host["explanation"])
END
}

# The suite on threads; at least one of its tests must have passed.
check_suite() {
  TEST_TMPDIR=$scratch "$qemu" "$out/conformance_$1_test" \
    --gtest_filter="*threads*:-$NOT_EMULATED" && grep -q '^\[  PASSED  \] [1-9]' "$log"
}

# check NAME COMMAND...
check() {
  local name=$1 start=$SECONDS
  shift
  log=$scratch/log
  if "$@" >"$log" 2>&1; then
    line passed "$name ($((SECONDS - start)) s)"
  else
    line FAILED "$name" "$log"
  fi
}

prepare() { install_packages "${PACKAGES[@]}" && fetch_libraries && make_tools && build; }

if [ "$command" = build ]; then
  prepare
  exit
fi

check "aarch64: ${#targets[@]} programs are built" prepare
if [ "$failed" -eq 0 ]; then
  qemu=$(command -v qemu-aarch64-static)
  check "aarch64: the probe says what is missing, and selects threads" check_probe
  for suite in "${SUITES[@]}"; do check "aarch64: conformance_$suite on threads" check_suite "$suite"; done
fi
count
