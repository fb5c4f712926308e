#include "command_line.h"

#include <CLI/CLI.hpp>
#include <boost/json/value.hpp>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "api.h"
#include "batch_command_line.h"
#include "commands.h"
#include "completion.h"
#include "doctor.h"
#include "features_command_line.h"
#include "offline_features.h"
#include "text.h"

namespace thaw::cli {
namespace {

struct GlobalOptions {
  bool json = false;
  bool no_color = false;
  std::string socket;
  std::string url;
};

struct ServeOptions {
  std::string file;
  std::map<std::string, std::string> flags;
};

// Everything that parsing fills, and the parser. The commands' options live as long as the parser that points at them.
struct CommandLine {
  CLI::App app{"Serverless inference on your own machines."};
  GlobalOptions global;
  ServeOptions serve;
  DeployOptions deploy;
  InvokeOptions invoke;
  BatchOptions batch;
  ChatOptions chat;
  ListOptions list;
  std::string describe_name;
  LogsOptions logs;
  DeleteOptions remove;
  PublishOptions publish;
  std::string versions_name;
  AliasOptions alias;
  ScheduleOptions schedule;
  ModelsOptions models;
  FeaturesOptions features;
  OfflineFeaturesOptions offline_features;
  std::string shell;
  std::vector<std::string> words;

  CommandLine();

 private:
  void add_serve();
  void add_deploy();
  void add_invoke();
  void add_chat();
  void add_versions();
  void add_schedules();
  void add_models();
  void add_others();
};

constexpr const char* kFooter =
    "Environment: THAW_SOCKET and THAW_URL name the daemon, THAW_DATA its folder, NO_COLOR turns colours off.\n"
    "Exit status: 0 done, 1 error, 2 wrong usage, 130 interrupted.";

// CLI11's help with Thaw's words.
class HelpFormat : public CLI::Formatter {
 public:
  HelpFormat() {
    column_width(30);
    label("REQUIRED", "");
    label("SUBCOMMAND", "COMMAND");
  }
  // The value's name alone; types and ranges stand in the description.
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_type_size() == 0) return "";
    return option->get_option_text().empty() ? " " + option->get_type_name() : " " + option->get_option_text();
  }
};

CommandLine::CommandLine() {
  app.name("thaw");
  app.formatter(std::make_shared<HelpFormat>());
  app.require_subcommand(0, 1);
  app.fallthrough();
  app.footer(kFooter);
  app.set_help_flag("-h,--help", "Show this help");
  app.set_version_flag("--version", std::string("thaw ") + THAW_VERSION, "Show the version");
  app.add_flag("--json", global.json, "Answer in JSON, for programs");
  CLI::Option* socket =
      app.add_option("--socket", global.socket, "Control socket of the daemon (default: DATA/control.sock)")
          ->option_text("PATH");
  app.add_option("--url", global.url, "Address of the daemon instead of the socket, like http://127.0.0.1:8080")
      ->option_text("URL")
      ->excludes(socket);
  app.add_flag("--no-color", global.no_color, "No colours");
  add_serve();
  add_deploy();
  add_invoke();
  add_batch(app, batch);
  add_chat();
  add_versions();
  add_schedules();
  add_models();
  add_features(app, features);
  add_offline_features(*app.get_subcommand("features"), offline_features);
  add_others();
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name() != "__complete") command->group("Commands");
  }
}

void CommandLine::add_serve() {
  CLI::App* command = app.add_subcommand("serve", "Run the daemon");
  command->footer(
      "Each key can stand in the file (listen = \"127.0.0.1:8080\"), in the environment (THAW_LISTEN) and on the "
      "command\n"
      "line; flags win over the environment, which wins over the file. Unknown keys are errors. Making sandboxes "
      "needs\n"
      "root; the half that reads requests runs as --user.");
  command
      ->add_option("--config", serve.file, "TOML file with these keys [THAW_CONFIG, else /etc/thaw/thaw.toml if there]")
      ->option_text("FILE");
  for (const ConfigKey& key : config_keys()) {
    std::string text = std::string(key.help) + " [" + std::string(key.default_text);
    const bool plain_number = key.default_text.find_first_not_of("0123456789") == std::string_view::npos;
    if (plain_number && !key.unit.empty()) text += " " + std::string(key.unit);
    text += "]";
    const std::string name(key.name);
    const char* value = key.type == ValueType::text ? "TEXT" : "N";
    const bool is_path = name == "data" || name.ends_with("_credentials") || name == "engines" || name == "runtimes" ||
                         name == "spawner";
    command
        ->add_option_function<std::string>(
            flag_name(key.name), [this, name](const std::string& given) { serve.flags[name] = given; }, text)
        ->option_text(is_path ? "PATH" : value);
  }
}

void CommandLine::add_deploy() {
  CLI::App* command = app.add_subcommand("deploy", "Deploy a function, or update it");
  command->footer(
      "PATH is a folder with thaw.toml, a zip of one, a folder with model.onnx, or an .onnx file; with the last two "
      "the\n"
      "config and tokenizer files beside the model are taken. Of a folder everything is taken but .git and "
      "__pycache__.\n"
      "A function of that name is replaced without failing a request.");
  command->add_option("PATH", deploy.path, "What to deploy")->required()->option_text(" ");
  command->add_option("--name", deploy.name, "Name of the function (default: the manifest's, else the folder's)")
      ->option_text("NAME");
  command->add_option("--memory", deploy.memory_mb, "Memory in MB, 128 to 10240; CPU in proportion")->option_text("MB");
  command->add_option("--timeout", deploy.timeout_s, "Bound of one invocation in seconds, 1 to 900")->option_text("S");
  command->add_option("--concurrency", deploy.concurrency, "Invocations at a time in one environment")
      ->option_text("N");
  command->add_option("--env", deploy.environment, "Environment variable of the function; may be repeated")
      ->option_text("K=V")
      ->allow_extra_args(false);
  command->add_option("--set", deploy.settings, "Any key of thaw.toml, like idle_s=60; may be repeated")
      ->option_text("KEY=VALUE")
      ->allow_extra_args(false);
}

void CommandLine::add_invoke() {
  CLI::App* command = app.add_subcommand("invoke", "Send a request to a function and print its answer");
  command->footer(
      "The body of a good answer goes to standard output as it comes. An answer of status 400 and above goes to "
      "standard\n"
      "error, with what Thaw knows about it, and the exit status is 1. A function that takes events gets DATA as one.");
  command->add_option("NAME", invoke.name, "The function, or NAME:QUALIFIER for a version or alias")
      ->required()
      ->option_text(" ");
  command->add_option("PATH", invoke.path, "Path in the function, with a query if you like [/]")->option_text(" ");
  command->add_option("-X,--request", invoke.method, "Method [GET; POST with data]")->option_text("METHOD");
  command->add_option("-d,--data", invoke.data, "Body: text, @FILE, or - for standard input")->option_text("DATA");
  command->add_option("-H,--header", invoke.headers, "Header 'Name: value'; may be repeated")
      ->option_text("HEADER")
      ->allow_extra_args(false);
  command->add_option("-q,--query", invoke.query, "Query parameter, encoded for you; may be repeated")
      ->option_text("K=V")
      ->allow_extra_args(false);
  command->add_flag("-i,--include", invoke.include_head, "Print status and headers as well");
}

void CommandLine::add_chat() {
  CLI::App* command = app.add_subcommand("chat", "Talk to a chat model");
  command->footer(
      "With a QUESTION, or one on standard input, the answer goes to standard output as it is written, and a line "
      "with\n"
      "tokens, tokens per second and the time to the first one to standard error. Else a chat begins: /help shows "
      "what\n"
      "can be typed there. With --json the answer comes whole, with usage and timings.");
  command->add_option("NAME", chat.name, "The function, or NAME:QUALIFIER for a version or alias")
      ->required()
      ->option_text(" ");
  command->add_option("QUESTION", chat.question, "One question, instead of a chat")->option_text(" ");
  command->add_option("--system", chat.system, "What the model is told before all else")->option_text("TEXT");
  command->add_option("--max-tokens", chat.max_tokens, "Length of an answer at most")->option_text("N");
  command->add_option("--temperature", chat.temperature, "0: the likeliest answer; higher: more varied")
      ->option_text("X");
}

void CommandLine::add_versions() {
  CLI::App* command = app.add_subcommand("publish", "Publish a function's present state as a new version");
  command->footer(
      "A version never changes: it serves on at /fn/NAME:VERSION/ when the function is deployed again. Nothing new is\n"
      "published when nothing was deployed since the newest version. With snapshot = true the command waits until the\n"
      "version's snapshot is made; exit status 1 when the version has failed.");
  command->add_option("NAME", publish.name, "The function")->required()->option_text(" ");
  command->add_option("--description", publish.description, "What to say of it, up to 256 bytes")->option_text("TEXT");

  command->add_flag("--no-wait", publish.no_wait, "Return at once, while the version is still being made");

  command = app.add_subcommand("versions", "List a function's versions");
  command->add_option("NAME", versions_name, "The function")->required()->option_text(" ");

  command = app.add_subcommand("alias", "Name versions, and share requests out between two");
  command->require_subcommand(1);
  CLI::App* action = command->add_subcommand("set", "Make an alias, or point it at another version");
  action->footer(
      "Requests to /fn/NAME:ALIAS/ go to VERSION; with --weight 2=0.1 a tenth of them, drawn for each, goes to version "
      "2.\n"
      "Without --weight all go to VERSION.");
  action->add_option("NAME", alias.name, "The function")->required()->option_text(" ");
  action->add_option("ALIAS", alias.alias, "The alias")->required()->option_text(" ");
  action->add_option("VERSION", alias.version, "A version's number, or $LATEST")->required()->option_text(" ");
  action->add_option("--weight", alias.weight, "Share of the requests, 0 to 1, for another version")
      ->option_text("VERSION=SHARE");
  action->add_option("--description", alias.description, "What to say of it, up to 256 bytes")->option_text("TEXT");
  action = command->add_subcommand("list", "List a function's aliases");
  action->add_option("NAME", alias.name, "The function")->required()->option_text(" ");
  action = command->add_subcommand("rm", "Delete an alias; its versions stay");
  action->add_option("NAME", alias.name, "The function")->required()->option_text(" ");
  action->add_option("ALIAS", alias.alias, "The alias")->required()->option_text(" ");
  for (CLI::App* one : command->get_subcommands([](const CLI::App*) { return true; })) one->group("Commands");
}

void CommandLine::add_schedules() {
  CLI::App* command = app.add_subcommand("schedule", "Have functions run at times");
  command->require_subcommand(1);
  CLI::App* action = command->add_subcommand("add", "Add a schedule, or change one");
  action->footer(
      "EXPRESSION is EventBridge's: 'rate(5 minutes)', or cron with minutes, hours, day of the month, month, day of "
      "the\n"
      "week and year in UTC: 'cron(0 8 ? * MON-FRI *)'. The function gets a Scheduled Event, or what --input says.");
  action->add_option("NAME", schedule.name, "The function, or NAME:QUALIFIER for a version or alias")
      ->required()
      ->option_text(" ");
  action->add_option("SCHEDULE", schedule.schedule, "The schedule's name")->required()->option_text(" ");
  action->add_option("EXPRESSION", schedule.expression, "When")->required()->option_text(" ");
  action->add_option("--input", schedule.input, "The event, instead of a Scheduled Event")->option_text("JSON");
  action->add_flag("--disabled", schedule.disabled, "Keep it without firing");
  action = command->add_subcommand("list", "List schedules");
  action->add_option("NAME", schedule.name, "The function; all of them without it")->option_text(" ");
  action = command->add_subcommand("remove", "Remove a schedule")->alias("rm");
  action->add_option("NAME", schedule.name, "The function")->required()->option_text(" ");
  action->add_option("SCHEDULE", schedule.schedule, "The schedule's name")->required()->option_text(" ");
  for (CLI::App* one : command->get_subcommands([](const CLI::App*) { return true; })) one->group("Commands");
}

ScheduleAction schedule_action(const CLI::App& command) {
  const std::string name = command.get_subcommands().front()->get_name();
  return name == "add" ? ScheduleAction::add : name == "list" ? ScheduleAction::list : ScheduleAction::remove;
}

AliasAction alias_action(const CLI::App& command) {
  const std::string name = command.get_subcommands().front()->get_name();
  return name == "set" ? AliasAction::set : name == "list" ? AliasAction::list : AliasAction::remove;
}

void CommandLine::add_models() {
  CLI::App* command = app.add_subcommand("models", "Fetch models into memory, and store them");
  command->require_subcommand(1);
  CLI::App* action = command->add_subcommand("pull", "Fetch a model from its store into the daemon's memory");
  action->footer(
      "URI is s3://BUCKET/KEY, https://HOST/PATH, hf:OWNER/REPO/FILE or file:NAME; with '/' at its end every object "
      "below\n"
      "it is fetched. The daemon fetches, with its own credentials; interrupting the command does not interrupt it.");
  action->add_option("URI", models.uri, "Where the model is")->required()->option_text(" ");
  action->add_option("--sha256", models.sha256, "What the contents must have, 64 hex digits")->option_text("HEX");
  action->add_flag("--no-wait", models.no_wait, "Return at once, while the daemon fetches");
  action = command->add_subcommand("push", "Store a file as an object");
  action->footer(
      "To s3://BUCKET/KEY this command uploads by itself, with your own credentials; to file:NAME the daemon keeps it "
      "in\n"
      "its folder. A URI that ends with '/' gets the file's name.");
  action->add_option("FILE", models.file, "The file")->required()->option_text(" ");
  action->add_option("URI", models.uri, "s3://BUCKET/KEY or file:NAME [file: and the file's name]")->option_text(" ");
  action = command->add_subcommand("list", "List the models in memory and on their way");
  action = command->add_subcommand("rm", "Drop a model from memory, or stop its fetch");
  action->add_option("URI", models.uri, "Its address or id")->required()->option_text(" ");
  action->add_flag("--object", models.object, "Delete what file:NAME stores too");
  for (CLI::App* one : command->get_subcommands([](const CLI::App*) { return true; })) one->group("Commands");
}

ModelsAction models_action(const CLI::App& command) {
  const std::string name = command.get_subcommands().front()->get_name();
  return name == "pull"   ? ModelsAction::pull
         : name == "push" ? ModelsAction::push
         : name == "list" ? ModelsAction::list
                          : ModelsAction::remove;
}

void CommandLine::add_others() {
  CLI::App* command = app.add_subcommand("list", "List the functions");
  command->add_flag("-q,--quiet", list.names_only, "Names only, one a line");

  command = app.add_subcommand("describe", "Show a function's settings and environments");
  command->add_option("NAME", describe_name, "The function, or NAME:QUALIFIER for a version or alias")
      ->required()
      ->option_text(" ");

  command = app.add_subcommand("logs", "Show a function's log");
  command->add_option("NAME", logs.name, "The function")->required()->option_text(" ");
  command->add_flag("-f,--follow", logs.follow, "Go on with new lines as they come");
  command->add_option("-n,--lines", logs.lines, "Begin with the last N lines [100]")->option_text("N");

  command = app.add_subcommand("delete", "Delete functions, or versions of them")->alias("rm");
  command->add_option("NAME", remove.names, "Functions with all their versions, or NAME:VERSION for one version")
      ->required()
      ->option_text(" ");
  command->add_flag("-y,--yes", remove.yes, "Do not ask");

  app.add_subcommand("status", "Show how the daemon is");
  app.add_subcommand("doctor", "Check this machine for what Thaw needs");
  app.add_subcommand("version", "Show the version");

  command = app.add_subcommand("completion", "Print a completion script for a shell");
  command->add_option("SHELL", shell, "bash, zsh or fish")->required()->option_text(" ");

  command = app.add_subcommand("__complete", "")->group("");
  command->add_option("WORDS", words, "")->option_text(" ");
}

// --socket, --url, THAW_SOCKET, THAW_URL, then the socket in the data folder: the first one given.
Endpoint endpoint_of(const GlobalOptions& global, const ConfigSources& sources) {
  if (!global.socket.empty()) return {.socket_path = global.socket};
  if (!global.url.empty()) return {.url = global.url};
  const auto variable = [&](const char* name) {
    const auto at = sources.environment.find(name);
    return at == sources.environment.end() ? std::string() : at->second;
  };
  if (const std::string socket = variable("THAW_SOCKET"); !socket.empty()) return {.socket_path = socket};
  if (const std::string url = variable("THAW_URL"); !url.empty()) return {.url = url};
  return {.socket_path = client_data_folder(sources) + "/control.sock"};
}

Session session_of(const GlobalOptions& global, const ConfigSources& sources) {
  return {Client(endpoint_of(global, sources)), Terminal::of_process(!global.no_color),
          global.json ? Output::json : Output::human};
}

int run_completion(const Session& session, const std::string& shell) {
  const std::string_view script = completion_script(shell);
  if (script.empty()) {
    (void)report(session, invalid_argument("no completion for '" + shell + "'; there are bash, zsh and fish"));
    return kExitUsage;
  }
  std::fwrite(script.data(), 1, script.size(), stdout);
  return kExitOk;
}

int run_version(const Session& session) {
  if (session.json()) {
    print_json({{"Version", THAW_VERSION}});
  } else {
    std::printf("thaw %s\n", THAW_VERSION);
  }
  return kExitOk;
}

int run_complete(Session& session, CommandLine& line) {
  const Completions completions = complete(line.app, line.words, [&](const std::string& argument) {
    const Result<std::vector<std::string>> names =
        argument == "NAME" ? function_names(session.client) : definition_names(session.client, argument);
    return names.ok() ? *names : std::vector<std::string>();
  });
  std::fputs(format_completions(completions).c_str(), stdout);
  return kExitOk;
}

int run_serve_command(const Session& session, const ConfigSources& sources,
                      const std::function<int(const ServeConfig&)>& serve) {
  const Result<ServeConfig> config = load_config(sources);
  if (!config.ok()) {
    (void)report(session, config.error());
    return kExitUsage;
  }
  return serve(*config);
}

int dispatch(CommandLine& line, const std::function<int(const ServeConfig&)>& serve) {
  const CLI::App* command = line.app.get_subcommands().front();
  const std::string name = command->get_name();
  const ConfigSources sources = process_sources(line.serve.file, line.serve.flags);
  Session session = session_of(line.global, sources);
  if (name == "serve") return run_serve_command(session, sources, serve);
  if (name == "deploy") return run_deploy(session, line.deploy);
  if (name == "invoke") return run_invoke(session, line.invoke);
  if (name == "batch") return run_batch(session, line.batch);
  if (name == "chat") return run_chat(session, line.chat);
  if (name == "list") return run_list(session, line.list);
  if (name == "describe") return run_describe(session, line.describe_name);
  if (name == "logs") return run_logs(session, line.logs);
  if (name == "delete") return run_delete(session, line.remove);
  if (name == "publish") return run_publish(session, line.publish);
  if (name == "versions") return run_versions(session, line.versions_name);
  if (name == "alias") return run_alias(session, alias_action(*command), line.alias);
  if (name == "features" && is_offline_features(*command))
    return run_offline_features(session, *command, line.offline_features);
  if (name == "features") return run_features(session, features_action(*command), line.features);
  if (name == "schedule") return run_schedule(session, schedule_action(*command), line.schedule);
  if (name == "models") return run_models(session, models_action(*command), line.models);
  if (name == "status") return run_status(session);
  if (name == "doctor") return run_doctor(session, sources);
  if (name == "completion") return run_completion(session, line.shell);
  if (name == "__complete") return run_complete(session, line);
  return run_version(session);
}

// CLI11's words for an unknown command or option, with the nearest one there is.
int usage_error(const CommandLine& line, const CLI::ParseError& error, const std::vector<std::string>& arguments) {
  std::string message = error.what();
  std::vector<std::string> known;
  const CLI::App* command = &line.app;
  for (const CLI::App* parsed : line.app.get_subcommands()) command = parsed;
  if (command == &line.app) {
    for (const CLI::App* sub : line.app.get_subcommands([](const CLI::App*) { return true; })) {
      if (!sub->get_group().empty()) known.push_back(sub->get_name());
    }
  }
  for (const CLI::App* app : {command, static_cast<const CLI::App*>(&line.app)}) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    }
  }
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError)) {
    for (const std::string& argument : arguments) {
      const std::string word = argument.substr(0, argument.find('='));
      if (message.find(word) == std::string::npos || std::find(known.begin(), known.end(), word) != known.end())
        continue;
      if (std::string hint = did_you_mean(word, known); !hint.empty()) {
        message = (word.starts_with('-') ? "unknown option " : "unknown command ") + word + hint;
        break;
      }
    }
  }
  const std::string help = command == &line.app ? "thaw --help" : "thaw " + command->get_name() + " --help";
  std::fprintf(stderr, "error: %s\nsee: %s\n", printable(message).c_str(), help.c_str());
  return kExitUsage;
}

}  // namespace

int run_command_line(int argc, char** argv, const std::function<int(const ServeConfig&)>& serve) {
  // libarchive names a zip's files by the locale's character set; they are UTF-8 wherever thaw runs.
  std::setlocale(LC_CTYPE, "C.UTF-8");
  CommandLine line;
  try {
    line.app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return line.app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    return usage_error(line, error, std::vector<std::string>(argv + 1, argv + argc));
  }
  if (line.app.get_subcommands().empty()) {
    std::fputs(line.app.help().c_str(), stdout);
    return kExitUsage;
  }
  const int exit_status = dispatch(line, serve);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    std::fputs("error: standard output cannot be written\n", stderr);
    return exit_status == kExitOk ? kExitError : exit_status;
  }
  return exit_status;
}

}  // namespace thaw::cli
