# shellcheck shell=bash
# The demos: a question answered by a function that starts on demand; with 'chat', a chatbot (demo_chat.sh).

help_demo() {
  cat <<'EOF'
Usage: ./dev demo [chat] [--once] [--port PORT] [--data FOLDER]

Installs what is missing, builds, starts 'thaw serve', deploys the question-answering model models/qa as the function
'qa' and examples/fastapi-hello as 'hello', asks 'qa' a question, prints its answer and what to try next, and goes on
serving until ctrl-C. A second run starts in seconds. Asks for sudo where it needs root (namespaces, cgroups).

With 'chat': builds llama.cpp's server too (once, some minutes), fetches SmolLM2-135M-Instruct (93 MB), deploys it as
'smol' with a snapshot, and asks it a question; the answer streams in, with its tokens per second.

  --once         stop after the answer
  --port PORT    listen on 127.0.0.1:PORT (default: 8080, or the next free port)
  --data FOLDER  keep Thaw's data there (default: build/demo, or /var/lib/thaw-demo if the clone is in a private folder)
EOF
}

readonly DEMO_QUESTION='What is the color of my car now?'
readonly DEMO_CONTEXT='My car used to be blue but I painted red'

command_demo() {
  local once='' port='' data='' serve_only='' what=qa model=''
  while (($#)); do
    case $1 in
      chat) what=chat ;;
      --model) model=${2:-} && shift ;; # what the first half of 'chat' found, through sudo
      --once) once=1 ;;
      --port) port=${2:-} && shift ;;
      --port=*) port=${1#*=} ;;
      --data) data=${2:-} && shift ;;
      --data=*) data=${1#*=} ;;
      --serve-only) serve_only=1 ;; # how this command calls itself through sudo
      *) usage_error demo "unknown option '$1'" ;;
    esac
    (($#)) && shift
  done
  if [[ -n $port && ! ($port =~ ^[1-9][0-9]{0,4}$ && $port -le 65535) ]]; then
    usage_error demo "--port wants a number up to 65535, not '$port'"
  fi

  if [[ -z $serve_only ]]; then
    command_setup
    if [[ $what == chat ]]; then
      DEV_SKIP_LLAMA='' llama_build
      chat_fetch
      model=$CHAT_MODEL
    fi
    build_preset release programs
  fi
  if ((EUID != 0)); then
    # Everything from here on belongs to the daemon's life; one process of ours keeps it, with the right to end it.
    say "Starting Thaw needs root (namespaces, cgroups): asking sudo"
    have sudo || die "run ./dev demo as root, or install sudo"
    cd -- "$CALLED_FROM" || exit
    exec sudo -- bash "$ROOT/dev" demo --serve-only ${once:+--once} ${port:+--port "$port"} ${data:+--data "$data"} \
      ${model:+chat --model "$model"}
  fi
  data=${data:-$(demo_data_folder)}
  if [[ $what == chat ]]; then
    demo_chat_serve "$once" "$port" "$data" "$model"
  else
    demo_serve "$once" "$port" "$data"
  fi
}

# The daemon gives its privileges up and must still reach its data, which a clone under /root (mode 700) would not allow.
demo_data_folder() {
  local folder=$ROOT/build
  while [[ $folder != / ]]; do
    if (((8#$(stat -c %a -- "$folder") & 1) == 0)); then
      printf '/var/lib/thaw-demo\n'
      return
    fi
    folder=$(dirname -- "$folder")
  done
  printf '%s\n' "$ROOT/build/demo"
}

port_is_free() { [[ -z $(ss -Hltn "sport = :$1" 2>/dev/null) ]]; }

# Prints the port to listen on: the wanted one, or 8080, or the first free one after it.
demo_port() {
  local wanted=$1 port
  if [[ -n $wanted ]]; then
    port_is_free "$wanted" || die "port $wanted is taken by $(port_holder "$wanted")"
    printf '%s\n' "$wanted"
    return
  fi
  for ((port = 8080; port < 8180; port++)); do
    if port_is_free "$port"; then
      if ((port != 8080)); then warn "port 8080 is taken by $(port_holder 8080): using $port"; fi
      printf '%s\n' "$port"
      return
    fi
  done
  die "no free port between 8080 and 8179: choose one with --port"
}

port_holder() {
  local holder
  holder=$(ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (process \2)/p' | head -n 1)
  printf '%s\n' "${holder:-another program}"
}

DEMO_PID=''
demo_stop() {
  local status=$?
  trap '' INT TERM HUP
  trap - EXIT
  if [[ -n $DEMO_PID ]] && kill -0 "$DEMO_PID" 2>/dev/null; then
    printf '\n'
    say "Stopping Thaw"
    kill -TERM "$DEMO_PID" 2>/dev/null || true
    wait "$DEMO_PID" || true
  fi
  exit "$status"
}

# demo_start PORT DATA, as root: the daemon, until it answers; it ends with this script. THAW_URL names it from then on.
demo_start() {
  local port=$1 data=$2 log thaw=$ROOT/build/release/bin/thaw deadline
  mkdir -p -- "$data"
  chmod 755 -- "$data"
  log=$data/serve.log

  say "Starting Thaw on 127.0.0.1:$port (its log: $log)"
  trap demo_stop EXIT
  trap 'exit 0' INT TERM HUP
  # In a session of its own: ctrl-C reaches this script alone, which then asks the daemon to drain.
  setsid -- "$thaw" serve --listen "127.0.0.1:$port" --data "$data/data" </dev/null >"$log" 2>&1 &
  DEMO_PID=$!
  deadline=$((SECONDS + 30))
  until curl -fsS --max-time 2 "http://127.0.0.1:$port/healthz" >/dev/null 2>&1; do
    if ! kill -0 "$DEMO_PID" 2>/dev/null; then
      tail -n 20 -- "$log" >&2
      die "thaw serve ended; '$thaw doctor' tells what this machine lacks"
    fi
    if ((SECONDS >= deadline)); then
      tail -n 20 -- "$log" >&2
      die "thaw serve did not answer /healthz within 30 seconds"
    fi
    sleep 0.05
  done
  export THAW_URL="http://127.0.0.1:$port"
}

# demo_serve ONCE PORT DATA, as root.
demo_serve() {
  local once=$1 port data=$3 thaw=$ROOT/build/release/bin/thaw
  port=$(demo_port "$2")
  demo_start "$port" "$data"
  say "Deploying models/qa as 'qa'"
  "$thaw" deploy "$ROOT/models/qa" --name qa
  local hello=''
  if [[ -d $ROOT/examples/fastapi-hello ]] && /usr/bin/python3 -c 'import fastapi, uvicorn' 2>/dev/null; then
    say "Deploying examples/fastapi-hello as 'hello'"
    # Its /docs then needs no network either.
    "$ROOT/examples/fastapi-hello/get-swagger-ui"
    "$thaw" deploy "$ROOT/examples/fastapi-hello" --name hello && hello=1
  fi

  say "Asking: $DEMO_QUESTION"
  note "about:  $DEMO_CONTEXT"
  local answer
  answer=$(demo_ask "$port") || die "no answer from the function 'qa' (its log: $thaw logs qa)"
  printf '\n%s%s%s\n\n' "$BOLD" "$answer" "$RESET"
  if [[ -n $once ]]; then return; fi
  demo_next_steps "$port" "$thaw" "$hello"
  wait "$DEMO_PID" || die "thaw serve ended by itself; its log: $data/serve.log"
}

demo_ask() {
  curl -fsS --max-time 60 --get "http://127.0.0.1:$1/fn/qa/question" \
    --data-urlencode "question=$DEMO_QUESTION" --data-urlencode "context=$DEMO_CONTEXT"
}

demo_next_steps() {
  local port=$1 thaw=$2 hello=$3 url=http://127.0.0.1:$1
  if [[ $CALLED_FROM == "$ROOT" ]]; then thaw=build/release/bin/thaw; fi
  cat <<EOF
${BOLD}Thaw is serving. Try:${RESET}

  In a browser
    http://qa.localhost:$port/docs        the model's API, to try out
EOF
  if [[ -n $hello ]]; then
    cat <<EOF
    http://hello.localhost:$port/docs     the FastAPI example's own page
EOF
  fi
  cat <<EOF

  In another terminal
    curl --get $url/fn/qa/question --data-urlencode 'question=Who painted it?' \\
         --data-urlencode 'context=My sister painted the car.'
EOF
  if [[ -n $hello ]]; then
    cat <<EOF
    curl $url/fn/hello/
EOF
  fi
  cat <<EOF

    export THAW_URL=$url
    $thaw list
    $thaw logs qa --follow
    $thaw status

  A function that nobody calls has no process after its idle time; the next call starts it again.

${BOLD}ctrl-C stops Thaw.${RESET}
EOF
}
