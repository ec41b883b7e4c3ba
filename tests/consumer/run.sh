#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the consumer in this folder with a Bazel server and output tree of its own, runs it, and
# checks that the program stands alone: no shared libaio or liburing, and none of the libraries that
# only ringfall's tests and tools use was even looked for. Prints one line; 0 means it passed.
#
#     tests/consumer/run.sh [--archive FILE] [--elsewhere] [FLAG...]
#
#   --archive FILE  takes ringfall from this archive, where it is in the folder ringfall/, instead of
#                   the tree that the consumer is in
#   --elsewhere     takes liburing and libaio from repositories of the consumer's own (made of this
#                   host's files); the host's must then not even be looked for
#   FLAG            of the build
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
tree=$(cd ../.. && pwd)
scratch=$(mktemp -d)
from="its tree"
flags=()
unneeded=(jansson crypto googletest libuv)

# A copy of the consumer, which becomes the current folder.
copy_consumer() {
  [ ! -d "$scratch/consumer" ] || return 0
  mkdir "$scratch/consumer"
  cp BUILD.bazel MODULE.bazel WORKSPACE WORKSPACE.bzlmod main.c "$scratch/consumer/"
  cd "$scratch/consumer"
  sed -i "s|path = \"../..\"|path = \"$tree\"|" MODULE.bazel WORKSPACE
}

depend_on_archive() {
  local url=file://$1 sum digest
  sum=$(sha256sum "$1") && sum=${sum%% *}
  # shellcheck disable=SC2001,SC2059  # every two digits become a byte
  digest=sha256-$(printf "$(sed 's/../\\x&/g' <<<"$sum")" | base64)
  copy_consumer
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

# host_library NAME TARGET LIB FILE...: a repository NAME with this host's libLIB.a and headers.
host_library() {
  local name=$1 target=$2 archive repository=$scratch/$1
  archive=$("${CC:-cc}" -print-file-name="lib$3.a")
  shift 3
  mkdir -p "$repository/include"
  cp "$archive" "$repository/"
  (cd /usr/include && cp -r "$@" "$repository/include/")
  : >"$repository/WORKSPACE"
  cat >"$repository/MODULE.bazel" <<END
module(name = "$name")
bazel_dep(name = "rules_cc", version = "0.2.14")
END
  cat >"$repository/BUILD.bazel" <<END
load("@rules_cc//cc:defs.bzl", "cc_library")
cc_library(
    name = "$target",
    srcs = ["$(basename "$archive")"],
    hdrs = glob(["include/**/*.h"]),
    includes = ["include"],
    visibility = ["//visibility:public"],
)
END
  cat >>MODULE.bazel <<END
bazel_dep(name = "$name")
local_path_override(
    module_name = "$name",
    path = "$repository",
)
END
  cat >>WORKSPACE <<END
local_repository(
    name = "$name",
    path = "$repository",
)
END
}

# With switches that the rule which looks for them refuses.
take_libraries_elsewhere() {
  copy_consumer
  host_library liburing uring uring liburing.h liburing
  host_library libaio aio aio libaio.h
  flags+=(--@ringfall//probe/bazel:liburing=@liburing//:uring
    --@ringfall//probe/bazel:libaio=@libaio//:aio
    --repo_env=RINGFALL_BUILD_URING=never --repo_env=RINGFALL_BUILD_AIO=never)
  unneeded+=(ringfall_liburing ringfall_libaio)
  from+=", with libraries from elsewhere,"
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
if [ "${1:-}" = --elsewhere ]; then
  take_libraries_elsewhere
  shift
fi

# What tools/bazel may ask for: --config=debian, without googletest, and with paths that hold here.
sed -n "s|%workspace%|$tree|; /googletest/d; /^common:debian /p" "$tree/.bazelrc" >"$scratch/bazelrc"

log=$scratch/log
bazel_here build --symlink_prefix="$scratch/link-" ${flags[@]+"${flags[@]}"} "$@" //:consumer >"$log" 2>&1 ||
  fail "it does not build" "$log"

program=$scratch/link-bin/consumer
said=$("$program") || fail "the program failed: $said"

needed=$(LC_ALL=C ldd "$program" 2>&1) || [[ $needed == *"not a dynamic executable"* ]] ||
  fail "ldd cannot read the program"
! grep -E 'lib(aio|uring)' <<<"$needed" >"$log" || fail "it needs a shared library" "$log"

for name in "${unneeded[@]}"; do
  for repository in "$scratch"/base/external/*"$name"; do
    [ ! -e "$repository" ] || fail "@$(basename "$repository") was looked for"
  done
done
echo "consumer: passed: built from @ringfall//engine of $from and ran, '$said'"
