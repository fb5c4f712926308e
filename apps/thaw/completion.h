// Shell completion. The scripts of completions/ are thin: they hand the words so far to `thaw __complete`, which knows
// the options from the very parser that will read them, and asks the daemon for the functions' names.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace thaw::cli {

// The script of completions/ for "bash", "zsh" or "fish"; empty for another shell.
std::string_view completion_script(std::string_view shell);

struct Completions {
  struct Choice {
    std::string word;
    std::string description;
  };
  std::vector<Choice> choices;
  bool files = false;  // the shell offers file names as well
};

// words: those after "thaw", the last one being typed (it may be empty). names_of gives what the daemon has for an
// argument, by its name in the help; it is only called where such a name is due.
Completions complete(const CLI::App& app, const std::vector<std::string>& words,
                     const std::function<std::vector<std::string>(const std::string& argument)>& names_of);

// One line a choice, "WORD<tab>DESCRIPTION"; a last line ":files" or ":none" says whether files fit as well.
std::string format_completions(const Completions& completions);

}  // namespace thaw::cli
