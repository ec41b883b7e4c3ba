# SPDX-License-Identifier: Apache-2.0
# Completion of ringfall's command line for bash: source it, or put it into
# /usr/share/bash-completion/completions as "ringfall".  It asks the program itself for commands and
# options, so that it always knows those of the program that is there.

# The values of an option that are words; none where it takes a number, a file or a text.
_ringfall_values() {
  case $1:$2 in
    bench:--backend | tune:--backend) echo io_uring libaio threads all ;;
    *:--backend) echo io_uring libaio threads auto ;;
    *:--rw) echo read write randread randwrite mixed ;;
    *:--direction) echo read write both ;;
    *:--checksum) echo sha256 none ;;
    write:--sync) echo none data file entry ;;
  esac
}

_ringfall() {
  local program=$1 word=$2 before=$3 command=${COMP_WORDS[1]} values
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ] || { [ "$COMP_CWORD" -eq 2 ] && [ "$command" = help ]; }; then
    values=$("$program" --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
    [ "$COMP_CWORD" -eq 2 ] || values="$values --help --version"
    mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
    return
  fi
  values=$(_ringfall_values "$command" "$before")
  if [ -z "$values" ] && [[ $word == -* ]]; then
    values=$("$program" "$command" --help 2>/dev/null | sed -n 's/^  *\(--[a-z0-9-]*\) .*/\1/p')
  fi
  # Nothing of these: files, by -o default.
  [ -z "$values" ] || mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
}

complete -o default -F _ringfall ringfall
