#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Packs what is installed into a tarball, the same bytes for the same files. Called by dist.bzl,
# with single files' paths as NAME=PATH:
#   pack.sh NAME=PATH... --headers FILE... --man FILE... --doc FILE...
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

single=() headers=() man=() doc=()
declare -n list=single
for word in "$@"; do
  case $word in
    --headers | --man | --doc) declare -n list=${word#--} ;;
    *) list+=("$word") ;;
  esac
done
declare "${single[@]}"

version_part() { sed -n "s/^#define RF_VERSION_$1 \([0-9]*\).*/\1/p" "${headers[@]}"; }
version=$(version_part MAJOR).$(version_part MINOR).$(version_part PATCH)
# The soname, which merge.sh chose, and all other flags: what a static library leaves to the program.
soname=$(sed -n 's/^-Wl,-soname,//p' "$LINK_FLAGS")
flags=$(grep -v '^-Wl,-soname,' "$LINK_FLAGS" | sort -u | paste -s -d ' ')

# e_machine of ELF: it may have been built for another machine than this one.
case $(od -An -tu2 -j18 -N2 "$SHARED" | tr -d ' ') in
  62) machine=x86_64 ;;
  183) machine=aarch64 ;;
  243) machine=riscv64 ;;
  *) machine=$(uname -m) ;;
esac
top=ringfall-$version-linux-$machine
root=$scratch/$top

# put MODE FILE NAME: a file, at that name below the prefix.
put() { install -D -m "$1" "$2" "$root/$3"; }

# fill FILE NAME: the same, with @VERSION@ and so on replaced.
fill() {
  sed "s|@VERSION@|$version|g; s|@SONAME@|$soname|g; s|@FLAGS@|$flags|g; s|@CMAKE_FLAGS@|${flags// /;}|g" \
    "$1" >"$scratch/filled"
  put 644 "$scratch/filled" "$2"
}

put 755 "$PROGRAM" bin/ringfall
put 644 "$ARCHIVE" lib/libringfall.a
put 755 "$SHARED" "lib/libringfall.so.$version"
ln -s "libringfall.so.$version" "$root/lib/$soname"
ln -s "$soname" "$root/lib/libringfall.so"
for header in "${headers[@]}"; do put 644 "$header" "include/ringfall/${header##*/}"; done
fill "$PKG_CONFIG" lib/pkgconfig/ringfall.pc
fill "$CMAKE_CONFIG" lib/cmake/ringfall/ringfall-config.cmake
fill "$CMAKE_VERSION" lib/cmake/ringfall/ringfall-config-version.cmake
for page in "${man[@]}"; do
  put 644 "$page" "share/man/man${page##*.}/${page##*/}"
  # man(1) finds a page by its file's name: one more for each function.
  for name in $(sed -n 's/^\.Nm \(rf_[a-z0-9_]*\).*/\1/p' "$page"); do
    ln -s "${page##*/}" "$root/share/man/man${page##*.}/$name.${page##*.}"
  done
done
for text in "${doc[@]}"; do put 644 "$text" "share/doc/ringfall/${text##*/}"; done
put 644 "$COMPLETION" share/bash-completion/completions/ringfall

tar -C "$scratch" --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mtime=@0 \
  --mode=u=rwX,go=rX -cf - "$top" | gzip -n -9 >"$TARBALL"
