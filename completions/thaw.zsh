#compdef thaw
# zsh completion for thaw. To use it in every shell, write it as _thaw into a folder of $fpath:
#   thaw completion zsh | sudo tee /usr/local/share/zsh/site-functions/_thaw >/dev/null
_thaw() {
  local line files=0
  local -a choices
  while IFS= read -r line; do
    case "$line" in
      :files) files=1 ;;
      :none) ;;
      *$'\t'*) choices+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
      *) choices+=("${line//:/\\:}") ;;
    esac
  done < <("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
  ((${#choices})) && _describe 'thaw' choices
  ((files)) && _files
}
if [ "$funcstack[1]" = "_thaw" ]; then
  _thaw "$@"
else
  compdef _thaw thaw
fi
