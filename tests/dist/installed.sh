# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What the tests of the tarball share: words for what is wrong, and the blocks of docs/installing.md.

tarball=$PWD/tools/ringfall.tar.gz
page=$PWD/docs/installing.md
functions=$PWD/tools/install/functions.awk
scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/dist.XXXXXX")
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
failed=0

wrong() {
  echo "FAILED: $1"
  [ -z "${2:-}" ] || sed 's/^/    /' <<<"$2"
  failed=1
}

# need PROGRAM PACKAGE: ends the test if there is no such program.
need() {
  command -v "$1" >/dev/null && return
  echo "FAILED: this test needs $1, and it is not here: apt-get install $2"
  exit 1
}

# block WORDS: the text of the page's block that begins with these.
block() {
  local text
  text=$(awk -v fence="\`\`\`$1" '$0 == "```" { on = 0 } on; $0 == fence { on = 1 }' "$page")
  [ -n "$text" ] || { echo "FAILED: docs/installing.md has no block '$1'" >&2; exit 1; }
  printf '%s\n' "$text"
}

# follow NAME: the commands of that block, which must all succeed. What they print is in $said.
follow() {
  block "sh $1" >commands
  said=$(bash -eu commands 2>&1) && return
  wrong "the commands '$1' of docs/installing.md" "$said"
  return 1
}
