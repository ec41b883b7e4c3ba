#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One world of run.sh, from inside: in the tree that this file is in, which is to be unpacked beside
# its archive. Called by run.sh.
#
#     world.sh DISK_CACHE WHAT [FLAG...]   WHAT is a function below, FLAG one of Bazel's
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly disk=$1 what=$2
shift 2
flags=("$@" --disk_cache="$disk")
readonly archive=$PWD/../ringfall.tar.gz base=$PWD/../base

# Where a library's release or Bazel's version might make a difference.
readonly TESTS=(//tests:engine_test //tests:config_test //tests:fault_injection_test)
readonly RING_TESTS=(//tests:ring_options_test //tests:ring_flags_test //tests:registry_test
  //tests:failover_test)

bazel_here() {
  local command=$1
  shift
  tools/bazel --output_base="$base" --host_jvm_args=-Xmx1g "$command" --noshow_progress "${flags[@]}" "$@"
}

builds() {
  bazel_here build //engine //engine:fault_injection //tools:ringfall
  # The libraries were found: a stub would pass for the backend otherwise.
  bazel-bin/tools/ringfall probe --build >said
  [ "$(grep -c ': found when ringfall was built$' said)" -eq 2 ] || { cat said; return 1; }
}

root() {
  builds
  bazel_here test "${TESTS[@]}"
}

root_thoroughly() {
  builds
  bazel_here test "${TESTS[@]}" "${RING_TESTS[@]}"
}

# Nothing in any package may stand in the way; tools/fio wants a source tree of fio.
next() {
  bazel_here build --nobuild -- //... -//tools/fio/...
  root
}

# Everything a consumer may link, as strictly as that goes.
compiled_by() {
  bazel_here build --repo_env=CC="$1" -c opt --copt=-Wpedantic --copt=-Werror //engine \
    //engine:fault_injection //probe
  headers "$1"
}

compiled_by_gcc() { compiled_by gcc; }

compiled_by_clang() { compiled_by clang; }

# Each public header by itself, as C17 and as C++17.
headers() {
  local folder header strict=(-Wall -Wextra -Wpedantic -Werror -fsyntax-only)
  local includes=(engine/include engine/fault_injection/include probe/include) count=0
  for folder in "${includes[@]}"; do
    for header in "$folder"/ringfall/*.h; do
      echo "#include <ringfall/$(basename "$header")>" >alone.c
      "$1" -std=c17 "${strict[@]}" "${includes[@]/#/-I}" -x c alone.c
      "$1" -std=c++17 "${strict[@]}" "${includes[@]/#/-I}" -x c++ alone.c
      count=$((count + 1))
    done
  done
  [ "$count" -ge 10 ] # or they have moved
}

consumer_static() { tests/consumer/run.sh "${flags[@]}" --linkopt=-static; }

consumer_elsewhere() { tests/consumer/run.sh --elsewhere "${flags[@]}"; }

# The commands of docs/building.md that are one's own in a checkout.
docs() {
  local line count=0
  while read -r line; do
    echo "== $line"
    # shellcheck disable=SC2086  # one word per flag
    bazel_here ${line#tools/bazel }
    count=$((count + 1))
  done < <(sed -n 's|^    \(tools/bazel [^<>]*\)$|\1|p' docs/building.md)
  [ "$count" -ge 5 ]
}

consumer_path() { tests/consumer/run.sh "${flags[@]}"; }

consumer_archive() { tests/consumer/run.sh --archive "$archive" "${flags[@]}"; }

"$what"
