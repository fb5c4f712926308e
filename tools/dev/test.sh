# shellcheck shell=bash
# Runs the tests, stage by stage, and sums them up.

help_test() {
  cat <<'EOF'
Usage: ./dev test [all|unit|e2e] [-k NAME] [--no-asan]

  all    (default) checks of the source tree, unit tests (release build, and again under AddressSanitizer and
         UndefinedBehaviorSanitizer), tests of the thaw command, end-to-end tests
  unit   unit tests in both builds
  e2e    tests of the thaw command, and end-to-end tests, which start the daemon and need root; release build

  -k NAME     only unit tests whose name contains NAME, and end-to-end tests that pytest's -k NAME selects
  --no-asan   leave the sanitizer build out

Every stage runs even if an earlier one failed. Reports and logs are left in build/test-results.
EOF
}

command_test() {
  local which=all name='' asan=1
  while (($#)); do
    case $1 in
      all | unit | e2e) which=$1 ;;
      -k) name=${2:-} && shift ;;
      --no-asan) asan='' ;;
      *) usage_error test "unknown argument '$1'" ;;
    esac
    (($#)) && shift
  done

  readonly RESULTS=$ROOT/build/test-results
  rm -rf -- "$RESULTS"
  mkdir -p -- "$RESULTS"
  SUMMARY=()
  FAILED=()

  run_stage setup command_setup --test
  if [[ $which == all && -z $name ]]; then run_stage tree check_tree; fi
  run_stage llama llama_for_tests
  run_stage build-release build_preset release
  if [[ $which != e2e ]]; then
    run_stage unit test_unit release "$name"
    if [[ -n $asan ]]; then
      run_stage build-asan build_preset asan unit_tests
      run_stage unit-asan test_unit asan "$name"
    fi
  fi
  if [[ $which != unit ]]; then
    run_stage cli test_python cli "$name" env
    run_stage runtimes test_python runtimes "$name" env
    run_stage e2e test_python e2e "$name" as_root
  fi
  sum_up
}

# run_stage NAME FUNCTION...: runs it in a shell of its own, where any failing command ends it, and notes how it went.
run_stage() {
  local name=$1 status started=$SECONDS
  shift
  printf '\n'
  say "Stage $name"
  set +e
  (
    set -e
    "$@"
  )
  status=$?
  set -e
  if ((status == 130 || status == 143)); then exit "$status"; fi
  if ((status == 0)); then
    SUMMARY+=("$(printf '%-15s ok      %s' "$name" "$(duration $((SECONDS - started)))")")
  else
    SUMMARY+=("$(printf '%-15s FAILED  %s' "$name" "$(duration $((SECONDS - started)))")")
    FAILED+=("$name")
  fi
}

sum_up() {
  local line counted=0 totals=''
  printf '\n'
  say "Summary"
  for line in "${SUMMARY[@]}"; do note "$line"; done
  cat "$RESULTS"/*/closing.txt 2>/dev/null || true
  totals=$(/usr/bin/python3 "$ROOT/tools/dev/count_tests.py" "$RESULTS") || counted=1
  printf '%s\n' "$totals"
  if ((${#FAILED[@]})); then die "failed stages: ${FAILED[*]}"; fi
  if ((counted != 0)); then die "a test failed, or none ran"; fi
}

# Checks of the source tree that need no build.
check_tree() {
  local failed=0 name command
  mkdir -p -- "$RESULTS/tree"
  while IFS='|' read -r name command; do
    printf '%s%s%s\n' "$DIM" "$name" "$RESET"
    if $command; then
      printf 'pass %s\n' "$name" >>"$RESULTS/tree/static.txt"
    else
      printf 'fail %s\n' "$name" >>"$RESULTS/tree/static.txt"
      failed=1
    fi
  done <<EOF
layers|/usr/bin/python3 $ROOT/tests/layers/check_layers.py $ROOT
format|check_format
locks|/usr/bin/python3 $ROOT/tools/dev/check_locks.py $ROOT
shell|check_shell
EOF
  return "$failed"
}

# test_unit PRESET [NAME]
test_unit() {
  local preset=$1 name=${2:-} results=$RESULTS/unit-$1 status=0 select=()
  mkdir -p -- "$results/gtest"
  local environment=(
    "GTEST_OUTPUT=xml:$results/gtest/"
    "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1"
    "UBSAN_OPTIONS=print_stacktrace=1"
  )
  if [[ -n $name ]]; then
    environment+=("GTEST_FILTER=*$name*")
    select=(--tests-regex '_tests$')
  elif [[ $preset == asan ]]; then
    select=(--label-exclude tree)
  fi
  # As root where sudo can make us so: the tests of the sandbox make namespaces and cgroups.
  as_root env "${environment[@]}" ctest --test-dir "$ROOT/build/$preset" --parallel "$(nproc)" --output-on-failure \
    --no-tests=error --timeout 300 --output-junit "$results/ctest.xml" "${select[@]}" | tee "$results/ctest.log" || status=$?
  grep -E '^[0-9]+% tests passed' "$results/ctest.log" | sed "s/^/$preset: /" >"$results/closing.txt" || true
  return "$status"
}

# test_python FOLDER_OF_TESTS NAME RUNNER...: pytest over tests/FOLDER_OF_TESTS, run by RUNNER (as_root, or env).
test_python() {
  local folder=$1 name=$2 results=$RESULTS/$1 status=0 select=()
  shift 2
  mkdir -p -- "$results"
  if [[ -n $name ]]; then select=(-k "$name"); fi
  # Debian's own Python, which has Debian's modules; another python3 may come first on PATH.
  "$@" env "THAW_BIN=$ROOT/build/release/bin" "THAW_BINARY=$ROOT/build/release/bin/thaw" PYTHONDONTWRITEBYTECODE=1 \
    timeout --foreground --signal=INT --kill-after=60 2400 /usr/bin/python3 -m pytest "$ROOT/tests/$folder" --rootdir "$ROOT/tests/$folder" \
    -p no:cacheprovider --junitxml "$results/pytest.xml" --durations 5 "${select[@]}" |
    tee "$results/pytest.log" || status=$?
  printf '%s: %s\n' "$folder" "$(tail -n 1 -- "$results/pytest.log")" >"$results/closing.txt"
  if [[ -n $name ]] && ((status == 5)); then status=0; fi # nothing here has that name
  return "$status"
}
