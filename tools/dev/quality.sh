# shellcheck shell=bash
# Formatting, lint, fuzzing.

readonly CLANG_FORMAT=clang-format-14 # pinned: other versions lay code out differently
readonly CLANG_TIDY=clang-tidy-14

help_fmt() {
  cat <<'EOF'
Usage: ./dev fmt [--check]

Formats the C++ code of src, apps and tests with clang-format 14.

  --check   change nothing; name the files that are not formatted, and fail if there are any
EOF
}

# Prints the repository's files with the given endings, NUL after each, also those not yet added to git.
source_files() {
  local patterns=() ending
  for ending in "$@"; do patterns+=("*.$ending"); done
  git -C "$ROOT" ls-files -z --cached --others --exclude-standard --deduplicate -- "${patterns[@]}" |
    while IFS= read -r -d '' file; do
      if [[ -f $ROOT/$file ]]; then printf '%s\0' "$file"; fi
    done
}

command_fmt() {
  local check=''
  while (($#)); do
    case $1 in
      --check) check=1 ;;
      *) usage_error fmt "unknown option '$1'" ;;
    esac
    shift
  done
  have "$CLANG_FORMAT" || command_setup --test
  if [[ -n $check ]]; then
    check_format
  else
    source_files h cpp c | xargs -0 -r "$CLANG_FORMAT" -i
  fi
}

check_format() {
  local unformatted
  unformatted=$(source_files h cpp c | xargs -0 -r "$CLANG_FORMAT" --dry-run 2>&1 |
    sed -n 's/^\([^:]*\):[0-9]*:[0-9]*: warning: code should be clang-formatted.*/\1/p' | sort | uniq -c)
  if [[ -n $unformatted ]]; then
    printf '%s\n' "$unformatted"
    printf "These files are not formatted (with the number of places): run './dev fmt'.\n"
    return 1
  fi
  printf 'Every C++ file is formatted.\n'
}

check_shell() {
  local files=(dev .ci/run) file
  while IFS= read -r -d '' file; do files+=("$file"); done < <(source_files sh)
  (cd -- "$ROOT" && shellcheck -x -- "${files[@]}") || return 1
  printf 'shellcheck has nothing to say about %d scripts.\n' "${#files[@]}"
}

help_lint() {
  cat <<'EOF'
Usage: ./dev lint [--changed] [FILE...]

Runs clang-tidy 14 (the checks that .clang-tidy allows, each an error), compiles every header alone, checks the layers
and the shell scripts. Uses the compile commands of the preset dev, which it builds where generated files are needed.

  --changed   only the C++ files that differ from the branch main
EOF
}

command_lint() {
  local changed='' files=() file
  while (($#)); do
    case $1 in
      --changed) changed=1 ;;
      -*) usage_error lint "unknown option '$1'" ;;
      *) files+=("$1") ;;
    esac
    shift
  done
  command_setup --test --dev
  configure_preset dev
  if ((${#files[@]} == 0)); then
    if [[ -n $changed ]]; then
      mapfile -t files < <(git -C "$ROOT" diff --name-only --diff-filter=d main -- '*.cpp' '*.h')
    else
      while IFS= read -r -d '' file; do files+=("$file"); done < <(source_files cpp)
    fi
  fi

  local failed=0
  say "Layers"
  /usr/bin/python3 "$ROOT/tests/layers/check_layers.py" "$ROOT" || failed=1
  say "Shell scripts"
  check_shell || failed=1
  say "Headers compile alone"
  /usr/bin/python3 "$ROOT/tests/layers/check_headers.py" "$ROOT" "$ROOT/build/dev" || failed=1
  say "clang-tidy on ${#files[@]} files"
  if ((${#files[@]})); then
    printf '%s\0' "${files[@]}" |
      xargs -0 -n 1 -P "$(compile_jobs)" "$CLANG_TIDY" -p "$ROOT/build/dev" --quiet 2> >(grep -v 'warnings generated' >&2) ||
      failed=1
  fi
  if ((failed)); then die "lint found something"; fi
  say "Nothing to complain about"
}

help_fuzz() {
  cat <<'EOF'
Usage: ./dev fuzz [TARGET] [--seconds N]

Builds the fuzz targets with clang and libFuzzer, and runs one of them, or each in turn, from its seed corpus
(tests/fuzz/corpus/NAME). New inputs go to build/fuzz/corpus, and an input that breaks something to build/fuzz/found.

  --seconds N   how long to run each target (default: 60)
EOF
}

command_fuzz() {
  local seconds=60 only='' targets=() target name failed=0
  while (($#)); do
    case $1 in
      --seconds) seconds=${2:-} && shift ;;
      --seconds=*) seconds=${1#*=} ;;
      -*) usage_error fuzz "unknown option '$1'" ;;
      *) only=$1 ;;
    esac
    (($#)) && shift
  done
  [[ $seconds =~ ^[1-9][0-9]*$ ]] || usage_error fuzz "--seconds wants a positive number, not '$seconds'"
  mapfile -t targets < <(cd -- "$ROOT" && find src apps -name '*_fuzz.cpp' -printf '%f\n' | sed 's/\.cpp$//' | sort)
  if [[ -n $only ]]; then
    only=${only%_fuzz}_fuzz
    [[ " ${targets[*]} " == *" $only "* ]] || die "no fuzz target '$only'; there are: ${targets[*]}"
    targets=("$only")
  fi
  if ((${#targets[@]} == 0)); then die "there are no fuzz targets"; fi
  command_setup --dev
  build_preset fuzz "${targets[@]}"
  local corpora
  for target in "${targets[@]}"; do
    name=${target%_fuzz}
    corpora=("$ROOT/build/fuzz/corpus/$name")
    if [[ -d $ROOT/tests/fuzz/corpus/$name ]]; then corpora+=("$ROOT/tests/fuzz/corpus/$name"); fi
    mkdir -p -- "$ROOT/build/fuzz/corpus/$name" "$ROOT/build/fuzz/found"
    say "Fuzzing $name for $seconds seconds"
    "$ROOT/build/fuzz/bin/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="$ROOT/build/fuzz/found/$name-" "${corpora[@]}" || failed=1
  done
  if ((failed)); then die "a fuzz target failed: its input is in build/fuzz/found"; fi
}
