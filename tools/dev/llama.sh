# shellcheck shell=bash
# llama.cpp's programs: fetches the pinned source, builds llama-server once for all presets, puts it among the engines.
#
# The source comes inside npm's node-llama-cpp as a git bundle of upstream's tree. Of that package nothing else is wanted,
# least of all its dependencies, so its tarball alone is fetched, of the version and with the checksum that tools/npm/llama.json pins.
#
#   build/llama/src        the source
#   build/llama/build      CMake's folder; build/llama/portable for the portable one
#   build/engines/llama    what came of it: llama-server and, for tests, llama-completion
#   build/PRESET/engines   llama-server, as hard links beside thaw-onnx; an environment sees the folder at /opt/thaw

readonly LLAMA_FOLDER=$ROOT/build/llama LLAMA_OUT=$ROOT/build/engines/llama
readonly LLAMA_TOOLS=(llama-completion) # what tests compare with

# Prints what tools/npm/llama.json says: llama_pin version|sha512
llama_pin() { jq -er ".[\"$1\"]" "$ROOT/tools/npm/llama.json"; }

# A llama-server that this machine has already: the one that THAW_LLAMA_SERVER names, else one on PATH. Leaves its path in
# LLAMA_SYSTEM, empty when there is none.
llama_of_system() {
  LLAMA_SYSTEM=${THAW_LLAMA_SERVER:-}
  if [[ -n $LLAMA_SYSTEM ]]; then
    [[ -f $LLAMA_SYSTEM && -x $LLAMA_SYSTEM ]] || die "THAW_LLAMA_SERVER names '$LLAMA_SYSTEM', which is not a program"
  else
    LLAMA_SYSTEM=$(command -v -- llama-server) || return 0
  fi
  LLAMA_SYSTEM=$(readlink -f -- "$LLAMA_SYSTEM")
}

# Unpacks the source, if it is not the pinned one already.
llama_source() {
  local version stamp=$LLAMA_FOLDER/source.stamp
  version=$(llama_pin version)
  if [[ -f $stamp && $(<"$stamp") == "$version" ]]; then return; fi
  have git || die "git is not on PATH: it unpacks llama.cpp's source"
  local work=$LLAMA_FOLDER/fetch archive
  archive=$work/node-llama-cpp.tgz
  rm -rf -- "$work" "$LLAMA_FOLDER/src" "$stamp"
  mkdir -p -- "$work"
  say "Fetching llama.cpp's source (35 MB, npm node-llama-cpp $version)"
  llama_fetch "$version" "$work"
  note "unpacking"
  tar -xzf "$archive" -C "$work" package/llama/gitRelease.bundle || die "the archive holds no llama/gitRelease.bundle"
  git -c advice.detachedHead=false clone --quiet --no-hardlinks "$work/package/llama/gitRelease.bundle" "$LLAMA_FOLDER/src" ||
    die "git could not unpack llama.cpp's source"
  rm -rf -- "$work"
  printf '%s\n' "$version" >"$stamp"
}

# llama_fetch VERSION FOLDER: by npm itself, so that its registry, proxy and certificates hold; then checked by us.
llama_fetch() {
  local version=$1 work=$2
  have npm || die "npm is not on PATH, and apt did not bring it"
  local certificates=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
  NODE_EXTRA_CA_CERTS=$certificates npm pack --ignore-scripts --loglevel=error --pack-destination "$work" \
    "node-llama-cpp@$version" >/dev/null || die "npm could not fetch node-llama-cpp $version; see its message (network?)"
  mv -- "$work/node-llama-cpp-$version.tgz" "$work/node-llama-cpp.tgz"
  sha512sum --check --status <<<"$(llama_pin sha512)  $work/node-llama-cpp.tgz" ||
    die "node-llama-cpp $version is not the file whose SHA-512 tools/npm/llama.json pins"
}

# Prints the CMake options for the instructions that this machine's CPU has. They are named one by one, never 'native':
# ccache would hand objects of -march=native to a machine that lacks their instructions. AMX is left out for good: g++ 12
# miscompiles ggml's AMX code (SIGILL).
llama_cpu_options() {
  local flags option names
  flags=" $(sed -n 's/^flags[[:space:]]*:[[:space:]]*//p' /proc/cpuinfo | head -n 1) "
  while read -r option names; do
    local value=ON name
    for name in $names; do
      if [[ $flags != *" $name "* ]]; then value=OFF; fi
    done
    printf -- '-DGGML_%s=%s\n' "$option" "$value"
  done <<'LIST'
SSE42 sse4_2
AVX avx
AVX2 avx2
BMI2 bmi2
FMA fma
F16C f16c
AVX_VNNI avx_vnni
AVX512 avx512f avx512cd avx512vl avx512dq avx512bw
AVX512_VBMI avx512vbmi
AVX512_VNNI avx512_vnni
AVX512_BF16 avx512_bf16
LIST
}

# Prints all CMake options.
llama_options() {
  printf '%s\n' -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_AMX_TILE=OFF -DGGML_AMX_INT8=OFF \
    -DGGML_AMX_BF16=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_SUBPROCESS=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_SERVER=ON -DGGML_CCACHE=OFF \
    -DCMAKE_C_FLAGS=-w -DCMAKE_CXX_FLAGS=-w # upstream's warnings are upstream's
  if have ccache; then printf '%s\n' -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
  if [[ ${THAW_LLAMA_PORTABLE:-} == 1 ]]; then
    # Programs find their libraries, and ggml the variant of its CPU backend that fits the machine, in their own folder.
    printf '%s\n' -DBUILD_SHARED_LIBS=ON -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON \
      -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON "-DCMAKE_INSTALL_RPATH=\$ORIGIN"
  else
    printf '%s\n' -DBUILD_SHARED_LIBS=OFF
    if [[ $(uname -m) == x86_64 ]]; then llama_cpu_options; fi
  fi
}

# Builds the engine unless it is there. Nothing to do takes no time.
llama_build() {
  local system options stamp=$LLAMA_OUT/.stamp wanted
  if [[ ${DEV_SKIP_LLAMA:-} == 1 ]]; then return; fi
  llama_of_system
  system=$LLAMA_SYSTEM
  mapfile -t options < <(llama_options)
  wanted=$({
    llama_pin version
    printf '%s\n' "${system:-${options[@]}}"
    if [[ -n $system ]]; then stat -c '%Y %s' -- "$system"; fi
  } | sha256sum)
  if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then return; fi
  rm -f -- "$stamp"
  if [[ -n $system ]]; then
    say "Taking this machine's llama-server, $system"
    llama_take_system "$system"
  else
    llama_compile "${options[@]}"
  fi
  printf '%s\n' "$wanted" >"$stamp"
}

# The engine, and the source for its vocabularies, of which tests and benchmarks make their models.
llama_for_tests() {
  if [[ ${DEV_SKIP_LLAMA:-} == 1 ]]; then return; fi
  llama_build
  llama_source
}

# llama_take FOLDER PROGRAM...: copies programs of a folder, and those of llama.cpp's libraries that lie beside them.
llama_take() {
  local folder=$1 library
  shift
  rm -rf -- "$LLAMA_OUT"
  mkdir -p -- "$LLAMA_OUT"
  cp -- "$@" "$LLAMA_OUT/"
  for library in "$folder"/lib{llama,ggml,mtmd}*.so*; do
    # Of the portable build: the variant with AMX, see llama_cpu_options. Machines that have it take the next best.
    if [[ -e $library && $library != */libggml-cpu-sapphirerapids.so ]]; then cp -P -- "$library" "$LLAMA_OUT/"; fi
  done
}

# llama_take_system PROGRAM: its tools too, where they lie beside it; tests leave out what compares with missing ones.
llama_take_system() {
  local folder tool programs=("$1")
  folder=$(dirname -- "$1")
  for tool in "${LLAMA_TOOLS[@]}"; do
    if [[ -x $folder/$tool ]]; then programs+=("$folder/$tool"); fi
  done
  llama_take "$folder" "${programs[@]}"
  if [[ ${1##*/} != llama-server ]]; then mv -- "$LLAMA_OUT/${1##*/}" "$LLAMA_OUT/llama-server"; fi
}

# llama_compile OPTION...
llama_compile() {
  local folder=$LLAMA_FOLDER/build jobs started=$SECONDS
  if [[ ${THAW_LLAMA_PORTABLE:-} == 1 ]]; then folder=$LLAMA_FOLDER/portable; fi
  llama_source
  jobs=$(compile_jobs)
  say "Building llama.cpp's server with $jobs jobs (once: some 8 minutes of CPU time)"
  export CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1
  mkdir -p -- "$folder"
  cmake -G Ninja -S "$LLAMA_FOLDER/src" -B "$folder" "$@" >"$folder/configure.log" 2>&1 || {
    tail -n 40 -- "$folder/configure.log" >&2
    die "CMake could not configure llama.cpp (all it said: $folder/configure.log)"
  }
  NINJA_STATUS='[%f/%t %es] ' ninja -C "$folder" -j "$jobs" llama-server "${LLAMA_TOOLS[@]}" ||
    die "the build of llama.cpp failed"
  llama_take "$folder/bin" "$folder/bin/llama-server" "${LLAMA_TOOLS[@]/#/$folder/bin/}"
  note "built in $(duration $((SECONDS - started)))"
}

# llama_install PRESET: hard links of llama-server and its libraries beside thaw-onnx.
llama_install() {
  local folder=$ROOT/build/$1/engines file
  if [[ ! -f $LLAMA_OUT/.stamp ]]; then return; fi
  mkdir -p -- "$folder"
  for file in "$LLAMA_OUT"/llama-server "$LLAMA_OUT"/*.so*; do
    if [[ -e $file && ! $folder/${file##*/} -ef $file ]]; then ln -fP -- "$file" "$folder/" || cp -fP -- "$file" "$folder/"; fi
  done
}
