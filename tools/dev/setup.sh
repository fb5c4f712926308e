# shellcheck shell=bash
# Installs what a bare Debian 12 lacks: packages by apt, ONNX Runtime and Swagger UI by npm.

help_setup() {
  cat <<'EOF'
Usage: ./dev setup [--test] [--dev]

Installs the Debian packages named in tools/debian-packages.txt and the npm packages pinned in tools/npm.
What is there already is left alone, so that a second run takes no time. Asks for sudo only when something is missing.

  --test   also tools/debian-packages-test.txt and tools/npm-test, what './dev test' and './dev bench' need
  --dev    also tools/debian-packages-dev.txt, what './dev lint' and './dev fuzz' need
EOF
}

command_setup() {
  local lists=("$ROOT/tools/debian-packages.txt")
  while (($#)); do
    case $1 in
      --test) lists+=("$ROOT/tools/debian-packages-test.txt") ;;
      --dev) lists+=("$ROOT/tools/debian-packages-dev.txt") ;;
      *) usage_error setup "unknown option '$1'" ;;
    esac
    shift
  done
  if [[ ${DEV_SKIP_SETUP:-} == 1 ]]; then return; fi
  setup_debian "${lists[@]}"
  setup_npm "$ROOT/tools/npm" "ONNX Runtime, Swagger UI"
  if [[ ${#lists[@]} -gt 1 && ${lists[*]} == *debian-packages-test.txt* ]]; then
    setup_npm "$ROOT/tools/npm-test" "s3rver, AWS's client of Lambda"
  fi
}

# Prints the packages of the given lists that are not installed. A node or npm already on PATH, whoever brought it, is
# taken as it is: Debian's own would conflict with a vendor's package.
missing_packages() {
  local -A wanted=() installed=()
  local name status list
  for list in "$@"; do
    while read -r name; do wanted[$name]=1; done < <(read_list "$list")
  done
  if have node && have npm; then unset 'wanted[nodejs]' 'wanted[npm]'; fi
  while read -r name status; do
    if [[ $status == ii ]]; then installed[$name]=1; fi
  done < <(dpkg-query -W -f='${Package} ${db:Status-Abbrev}\n' "${!wanted[@]}" 2>/dev/null || true)
  for name in "${!wanted[@]}"; do
    if [[ -z ${installed[$name]:-} ]]; then printf '%s\n' "$name"; fi
  done | sort
}

setup_debian() {
  local missing=()
  if ! have dpkg-query || ! have apt-get; then
    warn "this is not Debian: install the equivalents of tools/debian-packages*.txt yourself"
    return
  fi
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then return; fi
  say "Installing ${#missing[@]} Debian packages"
  note "${missing[*]}"
  as_root bash "$ROOT/tools/dev/apt-install.sh" "${missing[@]}" ||
    die "apt could not install the packages above; see its message (network? a Debian other than 12?)"
}

# setup_npm FOLDER WHAT: the packages pinned in the folder's package-lock.json.
setup_npm() {
  local folder=$1
  if [[ ! -f $folder/package-lock.json ]]; then return; fi
  local stamp=$folder/node_modules/.thaw-lock-sha256 wanted
  wanted=$(sha256sum <"$folder/package-lock.json")
  if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then return; fi
  have npm || die "npm is not on PATH, and apt did not bring it"
  say "Fetching npm packages ($2)"
  # Some builds of Node look into no certificate store but their own; the machine's holds what its owner added.
  local certificates=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
  NODE_EXTRA_CA_CERTS=$certificates npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --prefix "$folder" ||
    die "npm could not fetch the packages pinned in ${folder#"$ROOT/"}/package-lock.json; see its message (network?)"
  printf '%s\n' "$wanted" >"$stamp"
}
