#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the consumer in this folder with a Bazel server and output tree of its own, runs it, and
# checks that the program stands alone: no shared libaio or liburing, and none of the libraries that
# only ringfall's tests and tools use was even looked for. Prints one line; 0 means it passed.
#
#     tests/consumer/run.sh [--archive FILE] [FLAG...]
#
#   --archive FILE  takes ringfall from this archive, where it is in the folder ringfall/, instead of
#                   the tree that the consumer is in
#   FLAG            of the build
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
tree=$(cd ../.. && pwd)
scratch=$(mktemp -d)
from="its tree"

# depend_on_archive FILE: in a copy of the consumer, which becomes the current folder.
depend_on_archive() {
  local url=file://$1 sum digest
  sum=$(sha256sum "$1") && sum=${sum%% *}
  # shellcheck disable=SC2001,SC2059  # every two digits become a byte
  digest=sha256-$(printf "$(sed 's/../\\x&/g' <<<"$sum")" | base64)
  mkdir "$scratch/consumer"
  cp BUILD.bazel MODULE.bazel WORKSPACE WORKSPACE.bzlmod main.c "$scratch/consumer/"
  cd "$scratch/consumer"
  sed -i '/^local_path_override(/,/^)/d' MODULE.bazel
  cat >>MODULE.bazel <<END
archive_override(
    module_name = "ringfall",
    integrity = "$digest",
    strip_prefix = "ringfall",
    urls = ["$url"],
)
END
  cat >archive <<END
load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_archive")
http_archive(
    name = "ringfall",
    sha256 = "$sum",
    strip_prefix = "ringfall",
    urls = ["$url"],
)
END
  sed -i -e '/^local_repository(/r archive' -e '/^local_repository(/,/^)/d' WORKSPACE
  from="an archive"
}

bazel_here() {
  "${BAZEL:-$tree/tools/bazel}" --bazelrc="$scratch/bazelrc" --output_base="$scratch/base" \
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

if [ "${1:-}" = --archive ]; then
  depend_on_archive "$(realpath "$2")"
  shift 2
fi

# What tools/bazel may ask for: --config=debian, without googletest, and with paths that hold here.
sed -n "s|%workspace%|$tree|; /googletest/d; /^common:debian /p" "$tree/.bazelrc" >"$scratch/bazelrc"

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
echo "consumer: passed: built from @ringfall//engine of $from and ran, '$said'"
