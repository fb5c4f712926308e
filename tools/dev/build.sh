# shellcheck shell=bash
# Configures and builds a CMake preset.

help_build() {
  cat <<'EOF'
Usage: ./dev build [PRESET] [TARGET...]

Builds into build/PRESET. Presets (CMakePresets.json):

  release   optimised, with symbols: what ./dev demo and ./dev test run (default)
  dev       quick to compile, assertions on
  asan      AddressSanitizer and UndefinedBehaviorSanitizer
  tsan      ThreadSanitizer
  fuzz      libFuzzer targets, by clang

Before the first of them, llama.cpp's server is built into build/engines/llama, once for all presets (some 8 minutes of CPU
time); not when TARGETs are named. Where there is a llama-server on PATH, or THAW_LLAMA_SERVER names one, that is taken
instead. THAW_LLAMA_PORTABLE=1 builds one for any x86-64 machine, with variants that are chosen when it starts;
DEV_SKIP_LLAMA=1 leaves it out.

ccache is used when it is there. DEV_JOBS sets the number of compile jobs.
EOF
}

command_build() {
  local preset=${1:-release}
  if (($#)); then shift; fi
  case $preset in
    release | dev | asan | tsan) command_setup ;;
    fuzz) command_setup --dev ;;
    *) usage_error build "unknown preset '$preset'" ;;
  esac
  if (($# == 0)) && [[ $preset != fuzz ]]; then llama_build; fi
  build_preset "$preset" "$@"
}

# What a configured build folder depends on and ninja does not watch: which folders have a CMakeLists.txt (each takes
# part once it has one), the presets, and the npm packages that were looked for.
configure_stamp() {
  {
    (cd -- "$ROOT" && find apps bench src tests -name CMakeLists.txt | sort)
    cat "$ROOT/CMakePresets.json" "$ROOT"/tools/debian-packages*.txt
    cat "$ROOT/tools/npm/node_modules/.thaw-lock-sha256" 2>/dev/null || true
  } | sha256sum
}

# Runs CMake for a preset, if something it depends on has changed.
configure_preset() {
  local preset=$1 folder=$ROOT/build/$1 stamp
  stamp=$(configure_stamp)
  if [[ -f $folder/build.ninja && -f $folder/.configured && $(<"$folder/.configured") == "$stamp" ]]; then return; fi
  say "Configuring $preset"
  mkdir -p -- "$folder"
  rm -f -- "$folder/.configured"
  cmake --preset "$preset" -S "$ROOT" >"$folder/configure.log" 2>&1 || {
    tail -n 40 -- "$folder/configure.log" >&2
    die "CMake could not configure the preset '$preset' (all it said: $folder/configure.log)"
  }
  printf '%s\n' "$stamp" >"$folder/.configured"
}

# build_preset PRESET [TARGET...]
build_preset() {
  local preset=$1 jobs
  shift
  # Clones of this repository share compiled objects: paths count from the root, and the folder's name is left out.
  export CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1
  configure_preset "$preset"
  jobs=$(compile_jobs)
  say "Building $preset with $jobs jobs"
  NINJA_STATUS='[%f/%t %es] ' ninja -C "$ROOT/build/$preset" -j "$jobs" "$@" || die "the build of '$preset' failed"
  llama_install "$preset"
}
