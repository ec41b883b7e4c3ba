#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes of many archives the two objects that the installed libraries consist of: the library itself
# with what it needs of liburing and libaio, and the fault injection, which static programs that do
# not call it leave out. Symbols that no public header declares become local, so that a program may
# have a liburing, or functions of these names, of its own.
# Called by dist.bzl, with the tools' and single files' paths as NAME=PATH:
#   merge.sh NAME=PATH... --headers FILE... --library ARCHIVE... --needed ARCHIVE...
#            --faults ARCHIVE... --flags WORD...
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

single=() headers=() library=() needed=() faults=() flags=()
declare -n list=single
for word in "$@"; do
  case $word in
    --headers | --library | --needed | --faults | --flags) declare -n list=${word#--} ;;
    *) list+=("$word") ;;
  esac
done
declare "${single[@]}"

version_part() { sed -n "s/^#define RF_VERSION_$1 \([0-9]*\).*/\1/p" "${headers[@]}"; }
major=$(version_part MAJOR)
minor=$(version_part MINOR)
if [ -z "$major" ] || [ -z "$minor" ]; then
  echo "merge.sh: the headers do not tell the version" >&2
  exit 1
fi

# merged OUT ARCHIVE...: all of the archives, as one object.
merged() {
  local out=$1
  shift
  "$LD" -r -o "$out" --whole-archive "$@"
}

# A final link takes "NAME@@VERSION" of libaio's archive for NAME; a merging one does not.
for i in "${!needed[@]}"; do
  "$NM" -g --defined-only "${needed[i]}" 2>/dev/null | awk '$NF ~ /@@/ { print $NF }' |
    sort -u | sed 's/^\(.*\)@@.*$/& \1/' >"$scratch/renamed"
  "$OBJCOPY" --redefine-syms="$scratch/renamed" "${needed[i]}" "$scratch/needed$i.a"
  needed[i]=$scratch/needed$i.a
done

awk -f "$FUNCTIONS" "${headers[@]}" | sed -n 's/^extern \([^ ]*\) .*/\1/p' | sort -u >"$scratch/public"
merged "$scratch/library.o" "${library[@]}" --no-whole-archive "${needed[@]}"
merged "$scratch/faults.o" "${faults[@]}"

# What the fault injection calls inside the library stays visible to it. So does what the notes of
# tracepoints refer to, which is hidden anyway: a linker that drops its section, as --gc-sections makes
# it, puts up with that for a global symbol only.
"$NM" -u "$scratch/faults.o" | awk '{ print $NF }' | sort -u >"$scratch/called"
"$NM" -g --defined-only "$scratch/library.o" | awk '{ print $NF }' | sort -u |
  comm -12 - "$scratch/called" | cat "$scratch/public" - >"$scratch/kept"
echo _.stapsdt.base >>"$scratch/kept"
"$OBJCOPY" --keep-global-symbols="$scratch/kept" "$scratch/library.o" "$LIBRARY_OBJECT"
"$OBJCOPY" --keep-global-symbols="$scratch/public" "$scratch/faults.o" "$FAULTS_OBJECT"

rm -f "$ARCHIVE"
"$AR" rcsD "$ARCHIVE" "$LIBRARY_OBJECT" "$FAULTS_OBJECT"

# Until 1.0 a minor version may change what programs were compiled for: the soname lets several such
# versions be installed together, and it and the symbols' version keep such a program from starting
# with another library than its own.
[ "$major" -gt 0 ] && abi=$major || abi=$major.$minor
{
  echo "RINGFALL_$abi {"
  echo "global:"
  sed 's/.*/  &;/' "$scratch/public"
  echo "local:"
  echo "  *;"
  echo "};"
} >"$VERSION_SCRIPT"
{
  echo "-Wl,-soname,libringfall.so.$abi"
  [ "${#flags[@]}" -eq 0 ] || printf '%s\n' "${flags[@]}"
} >"$LINK_FLAGS"
