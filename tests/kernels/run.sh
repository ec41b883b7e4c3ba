#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ringfall on other kernels, and on arm64: boots Debian's in virtual machines (QEMU, software
# emulation) with an emulated NVMe disk, and runs most of the suites, the probe and machine_test there;
# beside that it cuts the power of one at many points (crash.h).  Prints one line for each program and
# kernel.
#
#     tests/kernels/run.sh [--cache DIR] [--table FILE] [--logs DIR] [--only SUITE[,SUITE...]]
#                          [--programs NAME[,NAME...]] [--jobs N]
#
#   --cache DIR    keeps the kernels for a week; default ~/.cache/ringfall-kernels
#   --table FILE   writes what each kernel selected and has, as a page of the documentation
#   --logs DIR     keeps what the machines said
#   --only SUITES  of: bullseye bookworm trixie forky arm64 crash
#   --programs NAMES  of the programs below; tests' names without _test
#   --jobs N       machines at a time; default 2
#
# Needs a Debian or Ubuntu machine; as root it installs what is missing.  1 GB of memory and 300 MB
# of disk for each of the machines that run at a time.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit

readonly SUITES=(bullseye bookworm trixie forky arm64) # 5.10, 6.1, 6.12, the newest; 6.12 on arm64
readonly CRASH_SUITE=trixie
# The archive that this machine takes its own packages from.
MIRROR=${RINGFALL_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
  grep -v security | head -n 1)}
readonly MIRROR
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly PACKAGES=(qemu-system-x86 qemu-system-arm cpio e2fsprogs xz-utils
  debian-archive-keyring)
# Test programs of //tests, and of others with their package; init says what is left out of them.
readonly GTESTS=(engine ring_flags probe fallback fault conformance_limits conformance_process
  conformance_wait conformance_ops conformance_data fault_injection registry ring_options route
  watchdog failover transfer_data transfer_token transfer_fault transfer_matrix model)
# What an emulated arm64 has the time for.
readonly ARM64_GTESTS=(engine probe fault conformance_limits conformance_process conformance_wait
  conformance_ops conformance_data)
readonly MACHINE_SECONDS=1200
readonly CRASH_ROUNDS=6 CRASH_POINTS=200

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ringfall-kernels
table=
logs=
only=all
only_programs=all
most=2
while [ $# -gt 0 ]; do
  case $1 in
    --cache) cache=$2 ;;
    --table) table=$2 ;;
    --logs) logs=$2 ;;
    --only) only=$2 ;;
    --programs) only_programs=$2 ;;
    --jobs) most=$2 ;;
    *)
      echo "usage: $0 [--cache DIR] [--table FILE] [--logs DIR] [--only SUITE[,SUITE...]]" \
        "[--programs NAME[,NAME...]] [--jobs N]" >&2
      exit 2
      ;;
  esac
  shift 2 || exit 2
done

scratch=$(mktemp -d)
quick=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d) # e2fsck waits for the disk
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$scratch" "$quick"' EXIT
passed=0
failed=0

# line passed|FAILED WHAT [DETAILS]: one of the lines that count.
line() {
  if [ "$1" = passed ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  printf '%-7s %s\n' "$1" "$2"
  if [ "$1" != passed ] && [ -n "${3:-}" ]; then
    sed '/^\[ RUN /{N;/\n\[       OK /d}' "$3" | grep -v '^\[----------\]' | sed 's/^/        /'
  fi
}

wanted() { [ "$only" = all ] || [[ ",$only," == *",$1,"* ]]; }

# programs SUITE suites|denied: what is run on it, without what --programs leaves out.
programs() {
  local name run=(probe_json machine engine)
  if [ "$2" = suites ]; then
    run=(probe_json table_row machine)
    if [ "$1" = arm64 ]; then run+=("${ARM64_GTESTS[@]}"); else run+=("${GTESTS[@]}"); fi
  fi
  for name in "${run[@]}"; do
    if [ "$only_programs" = all ] || [[ ",$only_programs," == *",$name,"* ]]; then echo "$name"; fi
  done
}

# ---- what is needed ------------------------------------------------------------------------------

install_packages() {
  local package missing=()
  for package in "${PACKAGES[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
    { apt-get update -q && apt-get install -q -y --no-install-recommends "${missing[@]}"; } >&2
}

architecture() { if [ "$1" = arm64 ]; then echo arm64; else echo amd64; fi; }
release() { if [ "$1" = arm64 ]; then echo trixie; else echo "$1"; fi; }

# apt SUITE COMMAND...: apt with sources, lists and a cache of that suite only, as if nothing were
# installed.
apt() {
  local home=$cache/$1/apt command=$2 architecture
  architecture=$(architecture "$1")
  shift 2
  "apt-$command" -q -o Dir::Etc::SourceList="$home/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$home/lists" -o Dir::Cache="$home/cache" -o Acquire::Languages=none \
    -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root -o APT::Architecture="$architecture" \
    -o APT::Architectures="$architecture" -o Dir::State::Status=/dev/null "$@"
}

# newest_kernel SUITE: of its kernels for clouds, as it stands in their packages' names.
newest_kernel() {
  apt "$1" cache search --names-only "^linux-image-[0-9].*-cloud-$(architecture "$1")\$" |
    sed 's/^linux-image-\([^ ]*\) .*/\1/' | sort -V | tail -1
}

# unpack DEB: the kernel and the drivers that it does not have in itself, or busybox, into the
# current folder.
unpack() {
  dpkg-deb --fsys-tarfile "$1" |
    tar -x --wildcards --no-anchored --transform='s|.*/||' 'boot/vmlinuz-*' 'modules/*/vmlinuz' \
      'block/loop.ko*' 'block/virtio_blk.ko*' 'bin/busybox' 2>/dev/null
  return 0 # not every package has all of them
}

# fetch SUITE: its newest kernel as $cache/SUITE/vmlinuz, drivers, and busybox.  Says what is wrong.
fetch() {
  local suite=$1 home=$cache/$1 kernel package
  [ -n "$(find "$home/ready" -mtime -7 2>/dev/null)" ] && [ -f "$home/busybox" ] && return
  rm -rf "$home"
  mkdir -p "$home/apt/lists/partial" "$home/apt/cache/archives/partial" "$home/debs" || return 1
  echo "deb [signed-by=$KEYRING] $MIRROR $(release "$suite") main" >"$home/apt/sources.list"
  apt "$suite" get update 2>&1 || { echo "the list of $suite's packages cannot be fetched"; return 1; }
  kernel=$(newest_kernel "$suite")
  [ -n "$kernel" ] || { echo "$suite has no linux-image-*-cloud-$(architecture "$suite")"; return 1; }
  cd "$home/debs" || return 1
  # Newer images are split into binary and modules.
  for package in "linux-image-$kernel" "linux-binary-$kernel" "linux-modules-$kernel" busybox-static; do
    [ -n "$(apt "$suite" cache search --names-only "^${package//+/\\+}\$")" ] || continue
    apt "$suite" get download "$package" 2>&1 || { echo "$package cannot be fetched"; return 1; }
  done
  for package in *.deb; do (cd .. && unpack "debs/$package"); done
  cd ..
  [ -f vmlinuz ] || mv vmlinuz-* vmlinuz || { echo "no kernel is in $kernel's packages"; return 1; }
  for package in *.ko.xz; do [ ! -f "$package" ] || xz -d "$package"; done
  for package in loop.ko virtio_blk.ko busybox; do
    [ -f "$package" ] || { echo "no $package is in $suite's packages"; return 1; }
  done
  rm -rf debs apt
  echo "$kernel" >ready
}

# ---- the machines --------------------------------------------------------------------------------

# targets PROGRAMS...: of Bazel.
targets() {
  local name
  for name in "$@"; do
    case $name in
      model) echo //tests/model:model_test ;;
      *) echo "//tests:${name}_test" ;;
    esac
  done
  echo //tools:ringfall //tests/kernels:machine_test //tests/kernels:table_row
}

build() {
  local targets=() name root=$scratch/amd64/tests
  # shellcheck disable=SC2207  # names without spaces
  targets=($(targets "${GTESTS[@]}") //tests/kernels:crash_guest //tests/kernels:crash_check)
  tools/bazel build --noshow_progress --config=static "${targets[@]}" || return 1
  mkdir -p "$root" && cp bazel-bin/tests/kernels/crash_check "$scratch/" || return 1
  for name in "${targets[@]}"; do
    name=${name#//}
    strip -o "$root/$(basename "${name/:/\/}")" "bazel-bin/${name/:/\/}" || return 1
  done
}

build_arm64() {
  # shellcheck disable=SC2046
  tests/worlds/aarch64.sh --out "$scratch/arm64/tests" build $(targets "${ARM64_GTESTS[@]}")
}

# archive SUITE: its initramfs.
archive() {
  local root=$scratch/$1/root
  mkdir -p "$root/bin" "$root/modules" && cp "$cache/$1"/*.ko "$root/modules/" &&
    cp "$cache/$1/busybox" "$root/bin/" && cp tests/kernels/init "$root/init" &&
    chmod 755 "$root/init" "$root/bin/busybox" && ln -s "$scratch/$(architecture "$1")/tests" "$root/" &&
    (cd "$root" && find -L . | cpio --quiet -o -L -H newc) >"$scratch/$1/initramfs"
}

# The features that the oldest of the kernels knows, whatever mke2fs of this host prefers.
make_file_system() {
  mke2fs -q -F -t ext4 -b 4096 -O none,has_journal,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum,filetype,dir_index \
    "$@"
}

# machine SUITE NAME APPEND DRIVES...: runs until it powers off; its console becomes NAME.log.
# Both processors on one thread: with two, code that the kernel patches while it starts may be run
# half patched (an oops by int3, before init).
machine() {
  local suite=$1 name=$2 append=$3 qemu=(qemu-system-x86_64) console=ttyS0
  shift 3
  if [ "$suite" = arm64 ]; then
    # Pointer authentication, emulated, takes as long as all the rest.
    # shellcheck disable=SC2054  # the comma is QEMU's
    qemu=(qemu-system-aarch64 -M virt -cpu max,pauth=off) console=ttyAMA0
  fi
  : >"$scratch/$suite/$name.log"
  timeout "$MACHINE_SECONDS" "${qemu[@]}" -accel tcg,thread=single -m 1024 -smp 2 \
    -display none -serial stdio -monitor none -nic none -no-reboot -kernel "$cache/$suite/vmlinuz" \
    -initrd "$scratch/$suite/initramfs" \
    -append "console=$console quiet loglevel=3 panic=-1 nvme.poll_queues=1 nvme_core.io_timeout=3 $append" \
    "$@" </dev/null 2>&1 | sed -u 's/\r//g' >"$scratch/$suite/$name.log"
}

# The suites, and then a machine that is denied rings from its start.
suite_machines() {
  local suite=$1 here=$scratch/$1
  truncate -s 4G "$here/disk" && truncate -s 64M "$here/spare" && make_file_system "$here/disk" ||
    return 1
  # shellcheck disable=SC2054  # the commas are QEMU's
  local drives=(-drive "file=$here/disk,if=none,id=n0,format=raw,cache=unsafe"
    -device nvme,serial=0,drive=n0
    -drive "file=$here/spare,if=none,id=n1,format=raw,cache=unsafe"
    -device nvme,serial=1,drive=n1)
  local name run options
  for name in suites denied; do
    run=$(programs "$suite" "$name" | paste -sd,) options=
    [ "$name" = suites ] || options=sysctl.kernel.io_uring_disabled=2
    [ -z "$run" ] || machine "$suite" "$name" "PLAN=$name PROGRAMS=$run DISK=/dev/nvme0n1 $options" \
      "${drives[@]}"
  done
  rm -f "$here/disk" "$here/spare"
}

# ---- what they said ------------------------------------------------------------------------------

# expected_skips KERNEL: the reasons for which tests may be skipped on it.
expected_skips() {
  local kernels reason pattern
  while IFS=$'\t' read -r kernels reason; do
    set -f
    for pattern in $kernels; do
      # shellcheck disable=SC2053  # it is a pattern
      [[ $1 == $pattern ]] && echo "$reason"
    done
    set +f
  done < <(grep -v '^#' tests/kernels/expected_skips)
}

# unexpected_skips KERNEL OUTPUT: a machine has everything; only what its kernel lacks may be missing.
unexpected_skips() {
  grep -A1 ': Skipped$' "$2" | grep '^needs ' | grep -vxF -f <(expected_skips "$1")
}

# judge SUITE NAME PROGRAMS...: one line for each program that ought to have run.
judge() {
  [ $# -gt 2 ] || return
  local suite=$1 log=$scratch/$1/$2.log kernel program part end
  kernel=$(sed -n 's/^@@ kernel //p' "$log" | head -1)
  shift 2
  if [ -z "$kernel" ]; then
    tail -40 "$log" >"$scratch/part"
    line FAILED "$suite: the machine did not start" "$scratch/part"
    return
  fi
  for program in "$@"; do
    part=$scratch/part
    sed -n "/^@@ begin $program\$/,/^@@ end $program /p" "$log" >"$part"
    end=$(sed -n "s/^@@ end $program //p" "$part")
    if [ -z "$end" ]; then
      [ -s "$part" ] || tail -5 "$log" >"$part"
      line FAILED "$kernel: $program did not come to its end" "$part"
    elif [ "${end%% *}" != 0 ]; then
      line FAILED "$kernel: $program ends with ${end%% *}" "$part"
    elif unexpected_skips "$kernel" "$part" >/dev/null; then
      line FAILED "$kernel: $program skipped what this machine has" "$part"
    else
      line passed "$kernel: $program$(summary "$part" "$end")"
    fi
  done
  note_lost_interrupts "$log"
}

# note_lost_interrupts LOG: emulated disks lose some, which costs three seconds each (by
# nvme_core.io_timeout), and is no failure of what runs there.
note_lost_interrupts() {
  local lost
  lost=$(sed -n 's/^@@ lost interrupts //p' "$1")
  [ "${lost:-0}" = 0 ] || echo "        $lost interrupts of the disk were lost"
}

# summary PART END: ", N tests, N skipped, N s"
summary() {
  local tests skipped
  tests=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) .*/\1/p' "$1")
  skipped=$(sed -n 's/^\[  SKIPPED \] \([0-9]*\) test.*/\1/p' "$1")
  echo "${tests:+, $tests tests}${skipped:+, $skipped skipped}, ${2##* } s"
}

judge_suite() {
  local name
  for name in suites denied; do
    # shellcheck disable=SC2046  # names without spaces
    judge "$1" "$name" $(programs "$1" "$name")
  done
}

# ---- power cuts ----------------------------------------------------------------------------------

# cut NAME [omit_sync]: a machine whose disk's writes and flushes are logged, and then the check.
# The check's status: see crash_check.cc.
cut() {
  local name=$1 here=$scratch/$CRASH_SUITE points=$CRASH_POINTS
  [ -z "${2:-}" ] || points=all # there are few flushes then
  truncate -s 20M "$here/$name.disk" && make_file_system "$here/$name.disk" 16M &&
    cp "$here/$name.disk" "$here/$name.before" && : >"$here/$name.writes" || return 2
  machine "$CRASH_SUITE" "$name" "PLAN=crash DISK=/dev/vda ROUNDS=$CRASH_ROUNDS OMIT=${2:-}" \
    -blockdev "driver=file,node-name=file,filename=$here/$name.disk" \
    -blockdev "driver=file,node-name=writes,filename=$here/$name.writes" \
    -blockdev driver=blklogwrites,node-name=logged,file=file,log=writes,log-sector-size=512 \
    -device virtio-blk-pci,drive=logged
  grep -q '^@@ end crash_guest 0 ' "$here/$name.log" || { tail -20 "$here/$name.log"; return 2; }
  mkdir -p "$quick/$name"
  "$scratch/crash_check" "$here/$name.writes" "$here/$name.before" "$quick/$name" "$points"
}

# judge_cut NAME STATUS: with what makes things durable left out, losses must be found.
judge_cut() {
  local name=$1 out=$scratch/$1.out status
  status=$(cat "$scratch/$1.status")
  if [ "$status" = "$2" ]; then
    line passed "$(cat "$cache/$CRASH_SUITE/ready"): $name: $(tail -1 "$out")"
  else
    line FAILED "$name: crash_check ends with $status, not $2" "$out"
  fi
}

# ---- the documentation ---------------------------------------------------------------------------

write_table() {
  local suite
  cat tests/kernels/table_head.md
  for suite in "${SUITES[@]}"; do
    sed -n '/^@@ begin table_row$/,/^@@ end/{/^| /p}' "$scratch/$suite/suites.log"
  done
}

keep_logs() {
  local suite name
  for suite in "${SUITES[@]}"; do
    for name in "$scratch/$suite"/*.log; do
      if [ -f "$name" ]; then mkdir -p "$logs" && cp "$name" "$logs/$suite-$(basename "$name")"; fi
    done
  done
}

# ---- all of it -----------------------------------------------------------------------------------

# prepare SUITE: its kernel, and what runs on it, but for arm64, for which that is still to be built.
prepare() {
  local log=$scratch/$1/prepare.log
  mkdir -p "$scratch/$1"
  if { (fetch "$1") && { [ "$1" = arm64 ] || archive "$1"; }; } >"$log" 2>&1; then
    touch "$scratch/$1/prepared"
  else
    line FAILED "$1's kernel" "$log"
  fi
}

# job NAME: one of what runs beside each other; its status becomes NAME.status.
job() {
  case $1 in
    power_cuts) cut power_cuts ;;
    power_cuts_without_syncs) cut power_cuts_without_syncs omit_sync ;;
    arm64) build_arm64 && archive arm64 && suite_machines arm64 ;;
    *) suite_machines "$1" ;;
  esac >"$scratch/$1.out" 2>&1
  echo $? >"$scratch/$1.status"
}

judge_job() {
  case $1 in
    power_cuts) judge_cut power_cuts 0 ;;
    power_cuts_without_syncs) judge_cut power_cuts_without_syncs 1 ;;
    *)
      if [ "$(cat "$scratch/$1.status")" = 0 ]; then
        judge_suite "$1"
      else
        line FAILED "$1's machine" "$scratch/$1.out"
      fi
      ;;
  esac
}

run() {
  local name suite jobs=()
  for name in arm64 bullseye bookworm trixie forky power_cuts power_cuts_without_syncs; do # the longest first
    case $name in power_cuts*) wanted crash ;; *) wanted "$name" ;; esac || continue
    case $name in power_cuts*) suite=$CRASH_SUITE ;; *) suite=$name ;; esac
    if [ ! -d "$scratch/$suite" ]; then prepare "$suite"; fi
    if [ -f "$scratch/$suite/prepared" ]; then jobs+=("$name"); fi
  done
  for name in "${jobs[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$most" ]; do wait -n; done
    job "$name" &
  done
  wait
  for name in "${jobs[@]}"; do judge_job "$name"; done
}

if ! install_packages; then
  line FAILED "packages cannot be installed: ${PACKAGES[*]}"
elif ! build >"$scratch/build.log" 2>&1; then
  line FAILED "the programs for the machines cannot be built" "$scratch/build.log"
else
  run
  if [ -n "$table" ]; then write_table >"$table"; fi
  if [ -n "$logs" ]; then keep_logs; fi
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
