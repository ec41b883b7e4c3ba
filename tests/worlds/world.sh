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
readonly archive=$PWD/../ringfall.tar.gz

# Where a library's release or Bazel's version might make a difference.
readonly TESTS=(//tests:engine_test //tests:config_test //tests:fault_injection_test)
readonly RING_TESTS=(//tests:ring_options_test //tests:ring_flags_test //tests:registry_test
  //tests:failover_test)

bazel_here() {
  local command=$1
  shift
  tools/bazel --host_jvm_args=-Xmx1g "$command" --noshow_progress "${flags[@]}" "$@"
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

consumer_path() { tests/consumer/run.sh "${flags[@]}"; }

consumer_archive() { tests/consumer/run.sh --archive "$archive" "${flags[@]}"; }

"$what"
