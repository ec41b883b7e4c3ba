#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The repository rule against a library of the test's own, `fake`, whose header, symbol and archive
# come and go under one running Bazel server: each loss must be told by its name, and each recovery
# must count in the very next build. Runs alone or as a Bazel test; needs a C compiler and Bazel.
set -euo pipefail

if [ -n "${TEST_SRCDIR:-}" ]; then
  root=$TEST_SRCDIR/$TEST_WORKSPACE
else
  root=$(cd "$(dirname "$0")/../.." && pwd)
fi
rules=$root/probe/bazel
bazel=${BAZEL:-$root/tools/bazel}
cc=${CC:-gcc}
export RINGFALL_INSTALL=0
if ! "$bazel" --version >/dev/null; then
  echo "SKIPPED: no Bazel"
  exit 0
fi

scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/build_probe.XXXXXX")
prefix=$scratch/prefix
mkdir -p "$scratch/workspace/probe/bazel" "$prefix/include" "$prefix/lib"
# -L: runfiles are links into the source tree, and a workspace of links is not a copy.
cp -L "$rules"/*.bzl "$rules"/BUILD.bazel "$scratch/workspace/probe/bazel/"
cd "$scratch/workspace"

cat >fake.bzl <<'END'
load("//probe/bazel:system_library.bzl", "system_library")

def fake(**common):
    system_library(
        name = "fake",
        target = "fake",
        switch = "RINGFALL_BUILD_AIO",
        links = ["fake"],
        headers = ["fake.h"],
        calls = ["fake_call(1)"],
        packages = {m: "fake-package" for m in ["apk", "apt", "dnf", "pacman", "zypper"]},
        **common
    )
END
cat >extension.bzl <<'END'
load(":fake.bzl", "fake")

def _fakes_impl(_module_ctx):
    fake()

fakes = module_extension(implementation = _fakes_impl)
END
cat >MODULE.bazel <<'END'
module(name = "probed")

bazel_dep(name = "rules_cc", version = "0.2.14")

fakes = use_extension("//:extension.bzl", "fakes")
use_repo(fakes, "fake")
END
: >WORKSPACE.bzlmod
echo "build --nosandbox_debug" >.bazelrc
# What tools/bazel may ask for: --config=debian, with modules that are empty, and no googletest.
sed -n 's|probe/bazel/debian_modules|modules|; /googletest/d; /^common:debian /p' \
  "$root/.bazelrc" >>.bazelrc
for module in $(sed -n 's/.* --override_module=\(.*\)=.*/\1/p' .bazelrc); do
  mkdir -p "modules/$module"
  echo "module(name = \"$module\")" >"modules/$module/MODULE.bazel"
done
cat >WORKSPACE <<'END'
load("//probe/bazel:deps.bzl", "ringfall_deps")
load(":fake.bzl", "fake")

ringfall_deps()

fake(watched = ["//:installed"])
END
cat >BUILD.bazel <<'END'
load("@rules_cc//cc:defs.bzl", "cc_binary")
load("//probe/bazel:chosen_library.bzl", "backend_sources", "build_report")

# Two files, like a backend and its stub, and for the same reason: Bazel 4.2.3 can crash when a
# file compiled before had included a header that has gone.
backend_sources(
    name = "sources",
    srcs = ["answer.c"],
    library = "@fake//:fake",
    stub = ["stub.c"],
)

build_report(
    name = "fake_report",
    library = "@fake//:fake",
    target = "fake",
)

cc_binary(
    name = "report",
    srcs = [
        "report.c",
        ":sources",
    ],
    deps = [
        ":fake_report",
        "@fake//:fake",
    ],
)
END
cat >report.c <<'END'
#include <ringfall_build/fake.h>
#include <stdio.h>
int answer(void);
int main(void) {
  printf("found %d (%s), answers %d\n", RF_BUILD_FAKE_FOUND, RF_BUILD_FAKE_OUTCOME, answer());
  printf("reason: %s\nremedy: %s\nlink: %s\nlog: %s\n", RF_BUILD_FAKE_REASON, RF_BUILD_FAKE_REMEDY,
         RF_BUILD_FAKE_LINK, RF_BUILD_FAKE_LOG);
  return 0;
}
END
printf '#include <fake.h>\nint answer(void) { return fake_call(41); }\n' >answer.c
echo 'int answer(void) { return 0; }' >stub.c

# A server and trees of its own, so that whoever runs this keeps theirs.
run_bazel=("$bazel" --output_user_root="$scratch/root" --output_base="$scratch/base"
  --host_jvm_args=-Xmx512m --max_idle_secs=60)

finish() {
  "${run_bazel[@]}" shutdown >/dev/null 2>&1 || true
  chmod -R u+w "$scratch"
  rm -rf "$scratch"
}
trap finish EXIT

checks=0

fail() {
  echo "FAILED: $1"
  cat "$scratch/said"
  exit 1
}

# expect TEXT...: each is in what the last build or program said.
expect() {
  for text in "$@"; do
    grep -qF -- "$text" "$scratch/said" || fail "$state: expected '$text'"
    checks=$((checks + 1))
  done
}

# The library's parts, as a package of it would have them.
header() { echo "int $1(int);" >"$prefix/include/fake.h"; }
compile_library() {
  echo "int $1(int x); int $1(int x) { return x + 1; }" >"$scratch/library.c"
  "$cc" -fPIC -c "$scratch/library.c" -o "$scratch/library.o"
}
archive() {
  compile_library "$1"
  ar rcs "$prefix/lib/libfake.a" "$scratch/library.o"
}
shared() {
  compile_library "$1"
  "$cc" -shared "$scratch/library.o" -o "$prefix/lib/libfake.so"
}
remove() { rm -f "$prefix/include/fake.h" "$prefix"/lib/libfake.*; }

build() {
  # Stands for the package manager's database, which the rule watches on a real host.
  echo "$state" >installed
  env CC="$cc" CPPFLAGS="-I$prefix/include" LDFLAGS="-L$prefix/lib -Wl,-rpath,$prefix/lib" "$@" \
    "${run_bazel[@]}" build //:report >"$scratch/said" 2>&1
}

# builds [VARIABLE=VALUE]...: the build succeeds, and the program adds its words to Bazel's.
builds() {
  build "$@" || fail "$state: the build failed"
  bazel-bin/report >>"$scratch/said"
}

refuses() {
  ! build "$@" || fail "$state: the build did not fail"
}

state="the header is missing"
builds
expect "found 0 (no-header)" "reason: fake.h was not found when ringfall was built" \
  "fatal error: " "DEBUG: " "fake: fake.h was not found. Remedy: " ", then rebuild"

state="installed after a build without"
header fake_call
archive fake_call
builds
expect "found 1 (found), answers 42" "link: static $prefix/lib/libfake.a"

state="the header is too old"
header fake_other
builds
expect "found 0 (no-symbol)" "reason: fake.h did not declare fake_call"

state="the library is too old"
header fake_call
archive fake_other
builds
expect "found 0 (no-symbol)" "reason: fake had no fake_call" "undefined"

state="the library is missing"
remove
header fake_call
builds
expect "found 0 (no-library)" "reason: fake.h was found, but no fake to link"

state="only the shared library is there"
shared fake_call
builds
expect "found 1 (found), answers 42" "link: shared "

state="left out"
builds RINGFALL_BUILD_AIO=0
expect "found 0 (left-out)" "reason: left out by RINGFALL_BUILD_AIO=0" \
  "remedy: rebuild without RINGFALL_BUILD_AIO=0"

state="demanded and there"
builds RINGFALL_BUILD_AIO=1
expect "found 1 (found), answers 42"

state="demanded and missing"
remove
refuses RINGFALL_BUILD_AIO=1
expect "fake cannot be used: fake.h was not found." "remedy: " "fake" \
  "leave it out: RINGFALL_BUILD_AIO=0" "fatal error: "

state="demanded, and installed after the failure"
header fake_call
archive fake_call
builds RINGFALL_BUILD_AIO=1
expect "found 1 (found), answers 42"

state="a value that is no answer"
refuses RINGFALL_BUILD_AIO=yes
expect "RINGFALL_BUILD_AIO is 'yes'"

state="a compiler that does not work"
printf '#!/bin/sh\ncase "$*" in *" empty.o"*) echo no licence >&2; exit 1;; esac\nexec %s "$@"\n' \
  "$cc" >"$scratch/cc"
chmod +x "$scratch/cc"
cc=$scratch/cc
builds
expect "found 0 (no-compiler)" "no licence"

echo "build_probe: passed, $checks checks"
