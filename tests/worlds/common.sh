# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2016  # others use what is set here; apt expands it
# What run.sh and aarch64.sh share. Sourced, with the root of the repository as the current folder.

# The archive that this machine takes its own packages from.
MIRROR=${RINGFALL_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
  grep -v security | head -n 1)}
readonly MIRROR
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly DEFAULT_CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ringfall-worlds

passed=0
failed=0

# line passed|FAILED WHAT [DETAILS]: one of the lines that count; DETAILS is a file to be shown.
line() {
  if [ "$1" = passed ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  printf '%-7s %s\n' "$1" "$2"
  if [ "$1" != passed ] && [ -n "${3:-}" ]; then sed 's/^/        /' "$3"; fi
}

# count: the last line, and the script's status.
count() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}

install_packages() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local install=(apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends)
  "${install[@]}" "${missing[@]}" >/dev/null 2>&1 ||
    { apt-get update -q && "${install[@]}" "${missing[@]}"; } >&2
}

# fresh FILE: it is there, and not older than a week.
fresh() { [ -n "$(find "$1" -maxdepth 0 -mtime -7 2>/dev/null)" ]; }
