#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ringfall in every world of Bazel: this machine's (Debian 12: Bazel 4.2.3, without modules) and a
# newer Debian's (forky: Bazel 7.7.1, with and without them), in a root of its own. In each it is
# built and tested as the root of a build, and consumed by tests/consumer, by path and as an archive.
# Prints one line for each world.
#
#     tests/worlds/run.sh [--only WORLD[,WORLD...]] [--cache DIR]
#
#   --only WORLDS  of those that `tests/worlds/run.sh --list` prints
#   --cache DIR    keeps the newer Debian for a week, and what Bazel has built; default
#                  ~/.cache/ringfall-worlds
#
# The archive is what git has of the working tree: new files count from `git add` on. Needs root on a
# Debian machine, 3 GB of disk, and installs what is missing.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
. tests/worlds/common.sh

readonly RELEASE=forky
readonly PACKAGES=(bazel-bootstrap g++ liburing-dev libaio-dev libgtest-dev libgmock-dev
  libjansson-dev libssl-dev libuv1-dev systemtap-sdt-dev)
readonly HERE_PACKAGES=("${PACKAGES[@]}" debootstrap debian-archive-keyring clang python3-yaml)

# name | where | what world.sh does there, and with which flags of Bazel
readonly WORKSPACE_MODE="--noenable_bzlmod --enable_workspace"
# What Bazel 8 and 9 do by themselves.
readonly NEXT="--noenable_workspace --incompatible_disable_native_repo_rules
  --incompatible_disallow_empty_glob --incompatible_use_plus_in_repo_names
  --incompatible_config_setting_private_default_visibility --incompatible_no_implicit_file_export
  --incompatible_strict_action_env --incompatible_auto_exec_groups"
WORLDS=(
  "4.2.3-root|here|root"
  "4.2.3-consumer-path|here|consumer_path"
  "4.2.3-consumer-archive|here|consumer_archive"
  "4.2.3-consumer-elsewhere|here|consumer_elsewhere"
  "4.2.3-consumer-static|here|consumer_static"
  "4.2.3-gcc|here|compiled_by_gcc"
  "4.2.3-clang|here|compiled_by_clang"
  "4.2.3-docs|here|docs"
  "4.2.3-bcr|here|bcr"
  "7-root-workspace|newer|root $WORKSPACE_MODE"
  "7-root-modules|newer|root_thoroughly"
  "7-consumer-workspace-path|newer|consumer_path $WORKSPACE_MODE"
  "7-consumer-workspace-archive|newer|consumer_archive $WORKSPACE_MODE"
  "7-consumer-modules-path|newer|consumer_path"
  "7-consumer-modules-archive|newer|consumer_archive"
  "7-consumer-modules-elsewhere|newer|consumer_elsewhere"
  "7-gcc|newer|compiled_by_gcc"
  "7-next|newer|next $NEXT"
)

cache=$DEFAULT_CACHE
only=
while [ $# -gt 0 ]; do
  case $1 in
    --only) only=$2 ;;
    --cache) cache=$2 ;;
    --list)
      printf '%s\n' "${WORLDS[@]%%|*}"
      exit
      ;;
    *)
      echo "usage: $0 [--only WORLD[,WORLD...]] [--cache DIR] | --list" >&2
      exit 2
      ;;
  esac
  shift 2 || exit 2
done
for name in ${only//,/ }; do
  printf '%s\n' "${WORLDS[@]%%|*}" | grep -qxF -- "$name" ||
    { echo "$0: there is no world '$name'; see $0 --list" >&2; exit 2; }
done

mkdir -p "$cache" || exit
cache=$(cd "$cache" && pwd)
exec 9>"$cache/lock"
flock -n 9 || { echo "$0: another one is at work in $cache" >&2; exit 1; }
readonly root=$cache/$RELEASE
scratch=$(mktemp -d)
root_maker=
log=$scratch/log

finish() {
  [ -z "$root_maker" ] || kill "$root_maker" 2>/dev/null
  chmod -R u+w "$scratch"
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

wanted() { [ -z "$only" ] || [[ ",$only," == *",$1,"* ]]; }

# ---- the newer Debian ------------------------------------------------------------------------------

# apart COMMAND...: with mounts and processes of its own, none of which outlives it.
apart() {
  setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child \
    --mount-proc "$@"
}

# inside ROOT COMMAND...: in that Debian, apart.
inside() {
  local where=$1
  shift
  # shellcheck disable=SC2016  # the arguments are the inner shell's
  apart bash -c '
    cd "$0" && mount -t proc proc proc && mount --rbind /dev dev && mount -t tmpfs tmpfs dev/shm &&
      exec env -i HOME=/root USER=root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive RINGFALL_INSTALL=0 chroot . "$@"' "$where" "$@"
}

# install ROOT: what is missing there.
install() { inside "$1" apt-get install -q -y --no-install-recommends "${PACKAGES[@]}"; }

make_root() {
  if fresh "$root" && install "$root"; then return; fi
  local new
  rm -rf --one-file-system "$root" "$cache/$RELEASE".new.*
  new=$(mktemp -d -p "$cache" "$RELEASE.new.XXXXXX") && chmod 755 "$new" || return 1
  # debootstrap has one script for all releases since etch, under several names.
  apart debootstrap --variant=minbase --keyring="$KEYRING" "$RELEASE" "$new" "$MIRROR" \
    /usr/share/debootstrap/scripts/sid || return 1
  # A snapshot's Release may be past its date.
  echo 'Acquire::Check-Valid-Until "false";' >"$new/etc/apt/apt.conf.d/ringfall"
  install "$new" && inside "$new" apt-get clean && touch "$new" && mv "$new" "$root"
}

# ---- the worlds ------------------------------------------------------------------------------------

# What git has, changes in the working tree included, as an archive and unpacked.
make_tree() {
  local changes
  changes=$(git stash create) || return 1
  git archive --format=tar.gz --prefix=ringfall/ -o "$scratch/ringfall.tar.gz" "${changes:-HEAD}" &&
    tar -xzf "$scratch/ringfall.tar.gz" -C "$scratch" || return 1
}

give_tree_to_root() {
  rm -rf "$root/worlds" && mkdir "$root/worlds" &&
    cp -a "$scratch/ringfall" "$scratch/ringfall.tar.gz" "$root/worlds/"
}

# world here|newer WHAT [FLAG...]
world() {
  local where=$1
  shift
  if [ "$where" = here ]; then
    RINGFALL_INSTALL=0 apart "$scratch/ringfall/tests/worlds/world.sh" "$cache/disk" "$@"
  else
    inside "$root" /worlds/ringfall/tests/worlds/world.sh /disk "$@"
  fi
}

# timed NAME COMMAND...: a line, with the seconds it took.
timed() {
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$log" 2>&1; then
    line passed "$name ($((SECONDS - start)) s)"
  else
    line FAILED "$name" "$log"
  fi
}

newer_wanted() {
  local entry
  for entry in "${WORLDS[@]}"; do
    if [[ $entry == *"|newer|"* ]] && wanted "${entry%%|*}"; then return; fi
  done
  return 1
}

if ! { install_packages "${HERE_PACKAGES[@]}" && make_tree; } >"$log" 2>&1; then
  line FAILED "what the worlds need" "$log"
  WORLDS=()
fi
# It is made while the worlds of this machine are at work, and waited for by the first in it.
root_ready=
if newer_wanted; then
  { make_root && give_tree_to_root; } >"$scratch/root.log" 2>&1 &
  root_maker=$!
fi
for entry in "${WORLDS[@]}"; do
  IFS='|' read -r -d '' name where what < <(printf '%s\0' "$entry")
  wanted "$name" || continue
  if [ "$where" = newer ] && [ -z "$root_ready" ]; then
    if wait "$root_maker"; then
      root_ready=yes
    else
      root_ready=no
      line FAILED "Debian $RELEASE cannot be made" "$scratch/root.log"
    fi
  fi
  if [ "$where" = newer ] && [ "$root_ready" = no ]; then
    line FAILED "$name: there is no Debian $RELEASE"
    continue
  fi
  # shellcheck disable=SC2086  # one word per flag
  timed "$name" world "$where" $what
done
count
