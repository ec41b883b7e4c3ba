#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The tarball of //tools:dist in the hands of one who has no Bazel: programs are made with it as
# docs/installing.md says, and its libraries give what the headers promise, and nothing else.
set -u
# shellcheck source=tests/dist/installed.sh
source tests/dist/installed.sh
need cc gcc
need gcc gcc
need nm binutils
need readelf binutils
need pkg-config pkg-config
need cmake cmake
need make make

# What the README's program prints when all is well: an explanation, two answers, and the text.
expect_program() {
  local what=$1 said=$2
  grep -qE '(io_uring|libaio|threads)' <<<"$(head -n 1 <<<"$said")" ||
    wrong "$what: no explanation of the engine" "$said"
  grep -q '^write of 17 bytes at offset 0 of .*/example.data' <<<"$said" || wrong "$what: no write" "$said"
  grep -q '^read of 17 bytes at offset 0 of .*/example.data' <<<"$said" || wrong "$what: no read" "$said"
  [ "$(tail -n 1 <<<"$said")" = "one answer each" ] || wrong "$what: other data came back" "$said"
  rm -f example.data
}

# makes NAME: follows that block, whose program must do its work.
makes() { follow "$1" && expect_program "$1" "$said"; }

# needs: the shared libraries that a program asks for.
needs() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p'; }

# The next minor version may break programs: beside it this one goes on, and a program that wants this
# one does not start with that one alone.
other_minor() {
  local next=libringfall.so.0.2
  mkdir other both
  sed "s/$soname/$next/" "$PREFIX/lib/libringfall.so.$version" >other/$next.0
  ln -s $next.0 other/$next
  ln -s $next other/libringfall.so
  cp -a "$PREFIX"/lib/libringfall.so.* other/* both/
  said=$(LD_LIBRARY_PATH=both ./program 2>&1) || wrong "a program does not start beside $next" "$said"
  expect_program "beside $next" "$said"
  ! said=$(LD_LIBRARY_PATH=other ./program 2>&1) || wrong "a program starts with $next" "$said"
  grep -q "$soname: cannot open shared object file" <<<"$said" || wrong "without $soname" "$said"
}

# A program that tests with faults, with each of the libraries.
use_faults() {
  cat >faults.c <<END
#include <ringfall/fault_injection.h>
#include <ringfall/ringfall.h>
#include <stdio.h>

int main(void) {
  struct rf_fault_plan plan;
  struct rf_fault_injector *injector;
  struct rf_engine *engine;
  struct rf_queue *queue;
  struct rf_completion done;
  struct rf_op op = rf_op_nop(1);
  if (rf_fault_plan_parse("stand_in error=EIO:nop@1", &plan, NULL) != 0) return 1;
  if (rf_fault_injector_open(&plan, &injector) != 0) return 2;
  if (rf_fault_engine_open(injector, &engine, NULL) != 0) return 3;
  if (rf_queue_open(engine, NULL, &queue) != 0) return 4;
  if (rf_submit_and_wait(queue, &op, 1, NULL, &done, 1, 1, RF_FOREVER) != 1) return 5;
  puts(rf_status_name(done.status));
  if (rf_queue_close(queue) != 0 || rf_engine_close(engine) != 0) return 6;
  rf_fault_injector_close(injector);
  return 0;
}
END
  local library
  for library in -lringfall "$PREFIX/lib/libringfall.a"; do
    said=$(cc -o faults faults.c -I "$PREFIX/include" -L "$PREFIX/lib" "$library" -pthread 2>&1 && ./faults)
    [ "$said" = EIO ] || wrong "fault injection with $library" "$said"
  done
}

# use_it PREFIX: goes through the page, in a folder of its own.
use_it() {
  export PREFIX=$1
  mkdir -p "$PREFIX.work" && cd "$PREFIX.work" || exit 1
  cp "$tarball" ringfall.tar.gz
  follow unpack || return
  block "sh environment" >environment
  # shellcheck source=/dev/null
  source ./environment
  awk '/^```/ { on = 0 } on; /^```c$/ { on = 1 }' "$PREFIX/share/doc/ringfall/README.md" |
    awk '{ print } /^int main/ { main = 1 } main && /^}$/ { exit }' >program.c
  grep -q '^int main' program.c || wrong "README.md has no program"

  case $PREFIX in
    *' '*)
      makes blanks
      ;;
    *)
      makes shared
      needs program | grep -qx "$soname" || wrong "shared: not linked with $soname" "$(needs program)"
      other_minor
      makes static
      [ -z "$(needs program)" ] || wrong "static: needs a library" "$(needs program)"
      makes archive
      [[ $(needs program) != *libringfall* ]] || wrong "archive: needs libringfall.so"
      ! nm program | grep rf_fault_ || wrong "archive: it carries the fault injection unasked"
      use_faults
      ;;
  esac

  block "cmake CMakeLists.txt" >CMakeLists.txt
  follow cmake
  [ "$(grep -c '^one answer each$' <<<"$said")" -eq 2 ] || wrong "CMake: two programs should run" "$said"
  needs build/program | grep -qx "$soname" || wrong "CMake: ringfall::ringfall is not $soname" "$(needs build/program)"
  [[ $(needs build/program-static) != *libringfall* ]] || wrong "CMake: ringfall::static is shared"

  said=$("$PREFIX/bin/ringfall" --version 2>&1)
  [ "$said" = "ringfall $version" ] || wrong "bin/ringfall --version" "$said"
  said=$(needs "$PREFIX/bin/ringfall" | grep -vE '^(libc|libm|libpthread|libcrypto|ld-linux[^.]*)\.so')
  [ -z "$said" ] || wrong "bin/ringfall needs more than libc and libcrypto" "$said"
  [ "$(pkg-config --modversion ringfall)" = "$version" ] || wrong "pkg-config has another version"
  cd "$scratch" || exit 1
}

# What is left of it when it is uninstalled again.
remove_it() {
  export PREFIX=$1
  local left
  cd "$PREFIX.work" || exit 1
  follow uninstall
  left=$(find "$PREFIX" ! -type d -o -name ringfall)
  [ -z "$left" ] || wrong "uninstalling leaves files" "$left"
  cd "$scratch" || exit 1
}

# asks WANTED OWN ANSWER: whether CMake takes a ringfall of version OWN for WANTED.
asks() {
  local folder=$scratch/asks got
  rm -rf "$folder"
  mkdir -p "$folder/lib/cmake/ringfall"
  sed "s/\"$version\"/\"$2\"/" "$installed/lib/cmake/ringfall/ringfall-config-version.cmake" \
    >"$folder/lib/cmake/ringfall/ringfall-config-version.cmake"
  touch "$folder/lib/cmake/ringfall/ringfall-config.cmake"
  cat >"$folder/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.13)
project(asks NONE)
find_package(ringfall $1 QUIET)
message("answer \${ringfall_FOUND}")
END
  got=$(cmake -S "$folder" -B "$folder/build" -DCMAKE_PREFIX_PATH="$folder" 2>&1 | sed -n 's/^answer //p')
  [ "$got" = "$3" ] || wrong "CMake: find_package(ringfall $1) with version $2 says '$got' instead of $3"
}

check_cmake_versions() {
  local major=${version%%.*} rest=${version#*.}
  local minor=${rest%%.*}
  [ "$major.$minor" = 0.1 ] || wrong "these checks are for version 0.1: see to it that they fit $version"
  asks "" "$version" 1
  asks 0.1 "$version" 1
  asks "$version EXACT" "$version" 1
  asks 0.1.1 "$version" 0
  asks 0.0 "$version" 0
  asks 0.2 "$version" 0
  asks 1.0 "$version" 0
  asks "0.1...<0.3" "$version" 1
  asks "0.2...0.3" "$version" 0
  asks 0.1 0.2.0 0
  asks 0.1 1.0.0 0
  asks 1.2 1.4.0 1
  asks 1.4.1 1.4.0 0
  asks 1 2.0.0 0
}

# same WHAT WANTED GOT: two files with a name a line.
same() {
  local said
  said=$(diff "$2" "$3") || wrong "$1 (<: declared, >: found)" "$said"
}

check_symbols() {
  local header shared=$installed/lib/libringfall.so archive=$installed/lib/libringfall.a said
  # By the compiler, and not by what made the libraries' lists.
  for header in "$installed"/include/ringfall/*.h; do echo "#include <ringfall/${header##*/}>"; done >all.c
  gcc -D_GNU_SOURCE -I "$installed/include" -fsyntax-only -aux-info declarations all.c
  grep -F "/include/ringfall/" declarations | grep -v ' static ' |
    sed 's|^/\*[^*]*\*/ ||; s/ (.*//; s/.*[ *]//' | sort -u >declared
  [ -s declared ] || wrong "the headers declare nothing"

  # Of a thread-local variable the list has a local entry as well, for its relocation.
  nm -D -g --defined-only "$shared" | awk '$2 != "A" { print $3 }' | sort -u >exported
  ! grep -v "@@RINGFALL_0.1$" exported >unversioned || wrong "symbols of another version" "$(cat unversioned)"
  sed -i 's/@@.*//' exported
  same "what libringfall.so exports" declared exported
  said=$(readelf -d "$shared" | sed -n 's/.*SONAME.*\[\(.*\)\]$/\1/p')
  [ "$said" = "$soname" ] || wrong "libringfall.so calls itself '$said'"
  said=$(nm -D -u "$shared" | grep -E ' (io_|uring)')
  [ -z "$said" ] || wrong "libringfall.so needs liburing or libaio" "$said"
  said=$(readelf -d "$shared" | grep NEEDED | grep -vE '\[(libc|libpthread|ld-linux[^]]*)\.so')
  [ -z "$said" ] || wrong "libringfall.so needs more than libc" "$said"

  # In the archive its second member, the fault injection, may call into the first.
  (cd "$scratch" && ar x "$archive")
  nm -u "$scratch/fault_injection.pic.o" | awk '{ print $NF }' | sort -u >called
  nm -g --defined-only "$archive" 2>/dev/null | awk 'NF == 3 { print $3 }' |
    grep -vxF _.stapsdt.base | sort -u >global # hidden; see tools/install/merge.sh
  comm -23 global called | sort -u - <(comm -12 declared global) >visible
  same "what libringfall.a shows" declared visible
  said=$(nm -u "$scratch/ringfall.pic.o" | grep -E ' (io_|rf_|.*uring)')
  [ -z "$said" ] || wrong "libringfall.a needs more than libc" "$said"
}

# Made so that it can be made again: no dates, no owners, one order.
check_tarball() {
  local said
  said=$(tar --full-time -tvzf "$tarball" | awk '$2 != "0/0" || $4 != "1970-01-01"')
  [ -z "$said" ] || wrong "owners or dates in the tarball" "$said"
  tar -tzf "$tarball" | sed 's|/$||' >order
  said=$(LC_ALL=C sort -c order 2>&1) || wrong "the tarball is not in order" "$said"
  [ "$(readlink "$installed/lib/$soname")" = "libringfall.so.$version" ] || wrong "$soname"
  [ "$(readlink "$installed/lib/libringfall.so")" = "$soname" ] || wrong "libringfall.so"
  said=$(cd "$installed/lib" && echo libringfall.so*)
  [ "$said" = "libringfall.so $soname libringfall.so.$version" ] || wrong "other names of libringfall.so" "$said"
  for file in bin/ringfall share/doc/ringfall/{LICENSE,README.md,CHANGELOG.md} \
    share/bash-completion/completions/ringfall share/man/man7/ringfall.7; do
    [ -s "$installed/$file" ] || wrong "no $file in the tarball"
  done
}

installed=$scratch/installed
mkdir "$installed"
tar -xzf "$tarball" --strip-components=1 -C "$installed"
version=$(sed -n 's/^#define RF_VERSION_[A-Z]* \([0-9]*\).*/\1/p' "$installed/include/ringfall/version.h" | paste -s -d .)
soname=libringfall.so.${version%.*} # until 1.0; see docs/installing.md
cd "$scratch" || exit 1
check_tarball
check_symbols
check_cmake_versions
use_it "$scratch/plain"
use_it "$scratch/with a blank"
remove_it "$scratch/plain"
remove_it "$scratch/with a blank"
exit "$failed"
