#include "features_command_line.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter =
    "Examples:\n"
    "  thaw features apply features.toml\n"
    "  thaw features push driver_push --file rows.jsonl\n"
    "  thaw features get driver_stats:conv_rate driver_stats:trips --entity driver_id=1001 --entity driver_id=1002";

}  // namespace

void add_features(CLI::App& app, FeaturesOptions& options) {
  CLI::App* command = app.add_subcommand("features", "The feature store: define, push and read features");
  command->require_subcommand(1);
  CLI::App* action = command->add_subcommand("apply", "Add and change definitions");
  action->add_option("FILE", options.file, "features.toml, or the same in JSON as NAME.json; - is standard input")
      ->required()
      ->option_text(" ");
  action->add_flag("--force", options.force, "Drop the rows of views whose entities or types change");
  action = command->add_subcommand("list", "List views, services and push sources");
  action = command->add_subcommand("describe", "Show one definition");
  action->add_option("DEFINITION", options.name, "Name of a view, service or push source")
      ->required()
      ->option_text(" ");
  action = command->add_subcommand("delete", "Delete a definition, a view with its rows")->alias("rm");
  action->add_option("DEFINITION", options.name, "Name of a view, service or push source")
      ->required()
      ->option_text(" ");
  for (CLI::App* named : {command->get_subcommand("describe"), command->get_subcommand("delete")}) {
    named->add_option("--kind", options.kind, "view, service or push-source, where several have the name")
        ->option_text("KIND")
        ->check(CLI::IsMember({"view", "service", "push-source"}));
  }
  action = command->add_subcommand("get", "Read features of entities");
  action->add_option("FEATURE", options.features, "VIEW:FEATURE; several may be named")->option_text(" ");
  action->add_option("--service", options.service, "The features of this service instead")->option_text("NAME");
  action->add_option("--entity", options.entities, "An entity key's value; again for further entities")
      ->option_text("KEY=VALUE")
      ->allow_extra_args(false)
      ->required();
  action->add_flag("--full-names", options.full_names, "Call features VIEW__FEATURE");
  action = command->add_subcommand("push", "Write rows of a view");
  action->footer(
      "A row has the entity keys, all features of the view and event_timestamp: a member each of a JSON object in a "
      "line\n"
      "(.jsonl), or a column of a CSV file with a header (.csv).");
  action->add_option("SOURCE", options.name, "A push source, or a view")->required()->option_text(" ");
  action->add_option("--file", options.file, "rows.jsonl or rows.csv; - is standard input, in JSON lines")
      ->option_text("FILE")
      ->required();
  for (CLI::App* one : command->get_subcommands([](const CLI::App*) { return true; })) one->group("Commands");
  // Last: commands take over the footer that there is when they are made.
  command->footer(kFooter);
}

FeaturesAction features_action(const CLI::App& command) {
  const std::string name = command.get_subcommands().front()->get_name();
  return name == "apply"      ? FeaturesAction::apply
         : name == "list"     ? FeaturesAction::list
         : name == "describe" ? FeaturesAction::describe
         : name == "delete"   ? FeaturesAction::remove
         : name == "get"      ? FeaturesAction::get
                              : FeaturesAction::push;
}

}  // namespace thaw::cli
