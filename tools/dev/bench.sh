# shellcheck shell=bash
# Runs a benchmark against the release build.

help_bench() {
  cat <<'EOF'
Usage: ./dev bench NAME [ARGUMENTS]

Builds the preset release and runs bench/NAME/run.sh or bench/NAME/run.py with the arguments. The script finds the
programs in the folder that $THAW_BIN names.

EOF
  printf 'Benchmarks here: %s\n' "$(bench_names)"
}

bench_names() {
  (cd -- "$ROOT/bench" && find . -mindepth 2 -maxdepth 2 \( -name run.sh -o -name run.py \) -printf '%P\n' |
    sed 's|/.*||' | sort -u | tr '\n' ' ')
}

command_bench() {
  local name=${1:-}
  if [[ -z $name ]]; then
    help_bench
    return 2
  fi
  shift
  local script
  for script in "$ROOT/bench/$name/run.sh" "$ROOT/bench/$name/run.py"; do
    if [[ -f $script ]]; then break; fi
  done
  [[ -f $script && $name != */* ]] || die "no benchmark '$name'; there are: $(bench_names)"
  command_setup --test
  case $name in
    chat | memory-size) llama_for_tests ;;
    invoke) [[ " $* " == *" --no-peers "* ]] || setup_npm "$ROOT/tools/npm-bench" "serverless-offline, 280 MB" ;;
  esac
  build_preset release
  export THAW_BIN=$ROOT/build/release/bin
  if [[ $script == *.py ]]; then
    /usr/bin/python3 "$script" "$@"
  else
    bash "$script" "$@"
  fi
}
