#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What bash completes for ringfall, asked as bash asks: with the words so far and the cursor's place.
set -u
# shellcheck source=/dev/null
source tools/completion/ringfall.bash
program=$PWD/tools/ringfall
failed=0

# completes WORDS... : what the last word becomes, sorted, on one line.
completes() {
  COMP_WORDS=(ringfall "$@")
  COMP_CWORD=$#
  _ringfall "$program" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
  printf '%s\n' "${COMPREPLY[@]}" | sort | paste -s -d ' '
}

# expect WANTED WORDS...
expect() {
  local wanted=$1 got
  shift
  got=$(completes "$@")
  [ "$got" = "$wanted" ] && return
  echo "FAILED: '$*' completes to '$got' instead of '$wanted'"
  failed=1
}

# expect_all COMMAND: every option that its help names, and nothing else.
expect_all() {
  local wanted
  wanted=$("$program" "$1" --help | grep -oE '^ +--[a-z0-9-]+' | tr -d ' ' | sort -u | paste -s -d ' ')
  [ -n "$wanted" ] || { echo "FAILED: $1 has no options"; failed=1; }
  expect "$wanted" "$1" --
}

expect "--help --version bench copy help probe read tune verify write" ""
expect "probe" p
expect "read" r
expect "bench copy help probe read tune verify write" help ""
expect "bench" help b
expect "" help -
expect "" help nonsense
expect "" nonsense --
for command in probe bench tune copy read write verify; do expect_all "$command"; done
expect "--direct" bench --dire
expect "all io_uring libaio threads" bench --backend ""
expect "auto io_uring libaio threads" copy --backend ""
expect "libaio" verify --backend l
expect "randread randwrite" bench --rw rand
expect "data" write --sync d
expect "" copy ./so
expect "" bench --size 1

[ "$(complete -p ringfall)" = "complete -o default -F _ringfall ringfall" ] ||
  { echo "FAILED: not registered"; failed=1; }
exit $failed
