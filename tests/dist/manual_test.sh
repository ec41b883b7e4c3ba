#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The manual has every function of the headers with the header's own prototype, every option and
# exit code that the program's help tells, and nothing besides; and it is in order for mandoc.
set -u
# shellcheck source=tests/dist/installed.sh
source tests/dist/installed.sh
need mandoc mandoc
need awk mawk

installed=$scratch/installed
mkdir "$installed"
tar -xzf "$tarball" --strip-components=1 -C "$installed"
cd "$installed/share/man" || exit 1
program=$installed/bin/ringfall

# synopsis PAGE: the prototypes in it, one a line, as functions.awk prints those of a header.
synopsis() {
  awk '
    /^\.Ft / { type = substr($0, 5); gsub(/"/, "", type) }
    /^\.Fo / { name = $2; arguments = ""; comma = "" }
    /^\.Fa / && name { text = substr($0, 5); gsub(/"/, "", text); arguments = arguments comma text; comma = ", " }
    /^\.Fc/ { print name, type (type ~ /\*$/ ? "" : " ") name "(" arguments ")"; name = "" }' "$1"
}

# section PAGE HEADING: what stands under that heading of second order.
section() { awk -v heading=".Ss $2" '/^\.S[sh] / { on = 0 } on; $0 == heading { on = 1 }' "$1"; }

check_header() {
  local name=$1 page=man3/ringfall_$1.3 said
  [ -f "$page" ] || { wrong "$name.h has no page $page"; return; }
  awk -f "$functions" "$installed/include/ringfall/$name.h" | sed 's/^[a-z]* //' | sort >"$scratch/declared"
  synopsis "$page" | sort >"$scratch/shown"
  said=$(diff "$scratch/declared" "$scratch/shown") || wrong "$page (<: header, >: page)" "$said"
  grep -q "^.In ringfall/$name.h$" "$page" || wrong "$page does not name its header"
  while read -r function _; do
    grep -qE "^\.Nm $function( ,)?$" "$page" || wrong "$page: $function is not in NAME"
    grep -q "^.It Fn $function$" "$page" || wrong "$page: $function is not described"
    cmp -s "man3/$function.3" "$page" || wrong "man $function does not find $page"
  done <"$scratch/declared"
}

check_command() {
  local command=$1 said
  "$program" "$command" --help >"$scratch/help" || wrong "$command --help fails"
  section man1/ringfall.1 "$command" >"$scratch/section"
  sed -n 's/^  \(--[a-z0-9-]*\)\( [^ ][^ ]*\)\{0,1\}  .*/\1\2/p' "$scratch/help" | sort >"$scratch/told"
  [ -s "$scratch/told" ] || wrong "$command --help has no options"
  sed -n 's/^\.It Fl \\-\([a-z0-9-]*\)/--\1/p' "$scratch/section" | sed 's/ Ar / /' | sort >"$scratch/shown"
  said=$(diff "$scratch/told" "$scratch/shown") || wrong "options of $command (<: --help, >: ringfall(1))" "$said"
  sed -n '/^Exit codes/,$s/^  \([0-9]\)  .*/\1/p' "$scratch/help" >"$scratch/told"
  sed -n 's/^\.It \([0-9]\)$/\1/p' "$scratch/section" >"$scratch/shown"
  said=$(diff "$scratch/told" "$scratch/shown") || wrong "exit codes of $command (<: --help, >: ringfall(1))" "$said"
}

for header in "$installed"/include/ringfall/*.h; do
  name=${header##*/}
  name=${name%.h}
  [ "$name" = ringfall ] || check_header "$name"
done
"$program" --help >"$scratch/usage" || wrong "--help fails"
for command in $(sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' "$scratch/usage"); do
  grep -q "^.Ss $command$" man1/ringfall.1 || wrong "ringfall(1) has nothing on $command"
  [ "$command" = help ] || check_command "$command"
done
for variable in $(sed -n '/^Environment:/,/^$/s/^  \([A-Z_]\{2,\}\).*/\1/p' "$scratch/usage"); do
  grep -q "^.It Ev $variable$" man1/ringfall.1 || wrong "ringfall(1) has nothing on $variable"
done

said=$(mandoc -T lint -W warning man[137]/ringfall* 2>&1) || wrong "mandoc -T lint" "$said"
# Pages that are referred to, of ours.
for page in $(sed -n 's/^\.Xr \(ringfall[a-z_]*\) \([137]\).*/man\2\/\1.\2/p' man[137]/ringfall* | sort -u); do
  [ -f "$page" ] || wrong "there is no $page"
done
exit "$failed"
