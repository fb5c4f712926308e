#include "completion.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "completion_scripts.h"

namespace thaw::cli {
namespace {

// Positional arguments that name what the daemon has, by the names that the help shows.
bool is_name(const CLI::Option& option) {
  const std::string name = option.get_single_name();
  return name == "NAME" || name == "DEFINITION" || name == "SOURCE" || name == "FEATURE";
}

bool has_commands(const CLI::App& command) {
  return !command.get_subcommands([](const CLI::App*) { return true; }).empty();
}

const CLI::Option* find_option(const CLI::App& command, const CLI::App& root, const std::string& word) {
  for (const CLI::App* app : {&command, &root}) {
    for (const CLI::Option* option : app->get_options()) {
      if (option->nonpositional() && option->check_name(word)) return option;
    }
  }
  return nullptr;
}

void add(Completions& out, const std::string& prefix, std::string word, const std::string& description) {
  if (!word.starts_with(prefix)) return;
  const std::string line = description.substr(0, description.find('\n'));
  out.choices.push_back({std::move(word), line});
}

void add_options(const CLI::App& app, const std::string& prefix, Completions& out) {
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) add(out, prefix, "--" + name, option->get_description());
    for (const std::string& name : option->get_snames()) add(out, prefix, "-" + name, option->get_description());
  }
}

}  // namespace

std::string_view completion_script(std::string_view shell) {
  if (shell == "bash") return kBashCompletion;
  if (shell == "zsh") return kZshCompletion;
  if (shell == "fish") return kFishCompletion;
  return "";
}

Completions complete(const CLI::App& app, const std::vector<std::string>& words,
                     const std::function<std::vector<std::string>(const std::string& argument)>& names_of) {
  Completions out;
  const std::string current = words.empty() ? "" : words.back();
  const CLI::App* command = &app;
  const CLI::Option* value_of = nullptr;
  std::size_t positionals = 0;
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (value_of != nullptr) {
      value_of = nullptr;
    } else if (word.starts_with('-') && word.size() > 1) {
      const CLI::Option* option = find_option(*command, app, word);
      if (option != nullptr && option->get_items_expected_max() > 0) value_of = option;
    } else if (has_commands(*command)) {
      const auto found = command->get_subcommands([&](const CLI::App* sub) { return sub->check_name(word); });
      if (found.empty()) return out;
      command = found.front();
    } else {
      ++positionals;
    }
  }
  if (value_of != nullptr) {
    out.files = true;
    return out;
  }
  if (current.starts_with('-')) {
    add_options(*command, current, out);
    if (command != &app) add_options(app, current, out);
    return out;
  }
  if (has_commands(*command)) {
    for (const CLI::App* sub : command->get_subcommands([](const CLI::App*) { return true; })) {
      if (!sub->get_group().empty()) add(out, current, sub->get_name(), sub->get_description());
    }
    return out;
  }
  std::vector<const CLI::Option*> slots;
  for (const CLI::Option* option : command->get_options()) {
    if (option->get_positional()) slots.push_back(option);
  }
  if (slots.empty()) return out;
  const CLI::Option* slot = positionals < slots.size() ? slots[positionals] : nullptr;
  if (slot == nullptr && slots.back()->get_items_expected_max() > 1) slot = slots.back();
  if (slot == nullptr) return out;
  if (is_name(*slot)) {
    for (const std::string& name : names_of(slot->get_single_name())) add(out, current, name, "");
  } else if (command->get_name() == "completion") {
    for (const char* shell : {"bash", "zsh", "fish"}) add(out, current, shell, "");
  } else if (command->get_name() == "deploy" || slot->get_single_name() == "FILE") {
    out.files = true;
  }
  return out;
}

std::string format_completions(const Completions& completions) {
  std::string out;
  for (const auto& choice : completions.choices) {
    out += choice.word;
    if (!choice.description.empty()) out += "\t" + choice.description;
    out += "\n";
  }
  return out + (completions.files ? ":files\n" : ":none\n");
}

}  // namespace thaw::cli
