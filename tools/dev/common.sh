# shellcheck shell=bash
# What every command of ./dev shares: words to the user, privileges, small questions about the machine.

if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
  BOLD=$'\e[1m' DIM=$'\e[2m' GREEN=$'\e[32m' RED=$'\e[31m' RESET=$'\e[0m'
else
  BOLD='' DIM='' GREEN='' RED='' RESET=''
fi
# shellcheck disable=SC2034  # DIM is used in test.sh
readonly BOLD DIM GREEN RED RESET

say() { printf '%s==>%s %s%s%s\n' "$GREEN" "$RESET" "$BOLD" "$*" "$RESET"; }
note() { printf '    %s\n' "$*"; }
warn() { printf '%swarning:%s %s\n' "$RED" "$RESET" "$*" >&2; }
die() {
  printf '%serror:%s %s\n' "$RED" "$RESET" "$*" >&2
  exit 1
}
usage_error() {
  printf "%serror:%s %s (see './dev %s --help')\n" "$RED" "$RESET" "$2" "$1" >&2
  exit 2
}

have() { command -v -- "$1" >/dev/null 2>&1; }

# Runs a command as root: directly, or through sudo, which may ask for a password.
as_root() {
  if ((EUID == 0)); then
    "$@"
  elif have sudo; then
    sudo -- "$@"
  else
    die "'$1' needs root: run ./dev as root, or install sudo"
  fi
}

# Compile jobs: one a core, and no more than memory has room for (about 1.5 GB each).
compile_jobs() {
  if [[ -n ${DEV_JOBS:-} ]]; then
    [[ $DEV_JOBS =~ ^[1-9][0-9]*$ ]] || die "DEV_JOBS must be a positive number, not '$DEV_JOBS'"
    printf '%s\n' "$DEV_JOBS"
    return
  fi
  local cores available_kb by_memory
  cores=$(nproc)
  available_kb=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
  by_memory=$((available_kb / 1500000))
  ((by_memory >= 1)) || by_memory=1
  printf '%s\n' "$((by_memory < cores ? by_memory : cores))"
}

# Names in a list file: one a line, '#' starts a comment.
read_list() { sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' -- "$1"; }

duration() { printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); }
