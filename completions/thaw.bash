# bash completion for thaw. To use it in every shell:
#   thaw completion bash | sudo tee /usr/share/bash-completion/completions/thaw >/dev/null
_thaw() {
  local line word current="${COMP_WORDS[COMP_CWORD]}" files=0
  local -a words=("${COMP_WORDS[@]:1:COMP_CWORD}")
  COMPREPLY=()
  while IFS= read -r line; do
    case "$line" in
      :files) files=1 ;;
      :none) ;;
      *)
        word="${line%%$'\t'*}"
        COMPREPLY+=("$word")
        ;;
    esac
  done < <("${COMP_WORDS[0]}" __complete -- "${words[@]}" 2>/dev/null)
  if ((files)); then
    compopt -o filenames 2>/dev/null
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current")
  fi
}
complete -F _thaw thaw
