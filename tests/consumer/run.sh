#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the consumer in this folder with a Bazel server and output tree of its own, runs it, and
# checks that the program stands alone: no shared libaio or liburing, and none of the libraries that
# only ringfall's tools and tests use was even looked for. Prints one line; 0 means it passed.
# Its arguments are flags of the build.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
scratch=$(mktemp -d)

# What tools/bazel may ask for: --config=debian, without googletest, and with paths that hold here.
sed -n "s|%workspace%|$(cd ../.. && pwd)|; /googletest/d; /^common:debian /p" ../../.bazelrc \
  >"$scratch/bazelrc"

bazel_here() {
  "${BAZEL:-../../tools/bazel}" --bazelrc="$scratch/bazelrc" --output_base="$scratch/base" \
    --host_jvm_args=-Xmx512m "$@"
}

finish() {
  bazel_here shutdown >/dev/null 2>&1 || true
  chmod -R u+w "$scratch"
  rm -rf "$scratch" bazel-out
}
trap finish EXIT

fail() {
  echo "consumer: FAILED: $1"
  [ -z "${2:-}" ] || cat "$2"
  exit 1
}

log=$scratch/log
bazel_here build --symlink_prefix="$scratch/link-" "$@" //:consumer >"$log" 2>&1 ||
  fail "it does not build" "$log"

program=$scratch/link-bin/consumer
said=$("$program") || fail "the program failed: $said"

needed=$(ldd "$program") || fail "ldd cannot read the program"
! grep -E 'lib(aio|uring)' <<<"$needed" >"$log" || fail "it needs a shared library" "$log"

for unneeded in jansson crypto googletest; do
  for repository in "$scratch"/base/external/*"$unneeded"; do
    [ ! -e "$repository" ] || fail "@$(basename "$repository") was looked for"
  done
done
echo "consumer: passed: built from @ringfall//engine and ran, '$said'"
