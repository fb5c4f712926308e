#!/usr/bin/env bash
# Installs Debian packages, as root, without questions and without starting the services that come with them
# (nginx is needed as a program to measure against, not as a server on port 80).
set -euo pipefail

readonly POLICY=/usr/sbin/policy-rc.d
log=$(mktemp /tmp/apt-install.XXXXXX)
readonly log
made_policy=0
cleanup() {
  if ((made_policy)); then rm -f -- "$POLICY"; fi
  rm -f -- "$log"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# invoke-rc.d asks this program; 101 means "action forbidden by policy". One that is there already is respected.
if [[ ! -e $POLICY ]]; then
  printf '#!/bin/sh\nexit 101\n' >"$POLICY"
  chmod 755 "$POLICY"
  made_policy=1
fi

units_before=$(ls /etc/systemd/system/multi-user.target.wants 2>/dev/null || true)

# Hundreds of packages make thousands of lines: on a terminal they share one line, in a log every fiftieth is shown.
progress() {
  local terminal=0
  if [[ -t 1 ]]; then terminal=1; fi
  tee -- "$log" | awk -v terminal="$terminal" '
    / newly installed, / { for (i = 1; i < NF; i++) if ($(i + 1) == "newly") total = $i }
    /^Get:/ { fetched++; show("fetching  ", fetched) }
    /^Unpacking / { unpacked++; show("unpacking ", unpacked) }
    /^Setting up / { ready++; show("setting up", ready) }
    function show(what, count) {
      if (terminal) printf "\r\033[K    %s %d of %d", what, count, total
      else if (count % 50 == 0) printf "    %s %d of %d\n", what, count, total
      fflush()
    }
    END { if (terminal) printf "\r\033[K" }'
}

apt_get() {
  apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null 2>&1
}

export DEBIAN_FRONTEND=noninteractive
if ! { apt_get -qq update && apt_get install --yes --no-install-recommends -- "$@"; } | progress; then
  tail -n 30 -- "$log" >&2
  exit 1
fi

# Not at the next boot either.
for unit in /etc/systemd/system/multi-user.target.wants/*.service; do
  name=$(basename -- "$unit")
  if [[ $name == nginx.service || $name == redis-server.service ]] && [[ $units_before != *"$name"* ]]; then
    rm -f -- "$unit"
  fi
done
