# fish completion for thaw. To use it in every shell:
#   thaw completion fish > ~/.config/fish/completions/thaw.fish
function __thaw_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l program $words[1]
    for line in ($program __complete -- $words[2..-1] 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path (commandline -ct)
            case ':none'
            case '*'
                echo $line
        end
    end
end
complete -c thaw -f -a '(__thaw_complete)'
