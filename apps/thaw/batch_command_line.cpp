#include "batch_command_line.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter =
    "Examples:\n"
    "  thaw batch classify --input photos/ --include '*.jpg' --output labels.jsonl\n"
    "  thaw batch classify --input photos/ --include '*.jpg' --output labels.jsonl --resume\n"
    "  thaw batch question --input questions.jsonl --id-field id --path /answer --concurrency 16 > answers.jsonl\n"
    "  thaw batch score --input postgresql://me@db/shop --query 'SELECT id, age, income FROM customers' \\\n"
    "    --output postgresql://me@db/shop --output-table scores --schedule 'rate(1 day)'\n"
    "Each input becomes a line or a row of the output as it ends: id, status, duration_ms, output, and error where it\n"
    "failed. Ctrl-C lets what is under way end; --resume goes on from there, and tries again what failed. {time} in\n"
    "--output is the time of the run. Exit status 1: some inputs failed, or not all were tried.";

}  // namespace

void add_batch(CLI::App& app, BatchOptions& options) {
  CLI::App* command = app.add_subcommand("batch", "Run a function over many inputs");
  command->footer(kFooter);
  command->add_option("NAME", options.name, "The function, or NAME:QUALIFIER for a version or alias")
      ->required()
      ->option_text(" ");
  command
      ->add_option(
          "--input", options.input,
          "A folder (each file is a body), a .jsonl or .csv file, - (JSON lines), sqlite:PATH or postgresql://…")
      ->required()
      ->option_text("SOURCE");
  command
      ->add_option("--output", options.output,
                   "File of JSON lines, sqlite:PATH or postgresql://… (default: standard output)")
      ->option_text("DEST");
  command->add_option("--output-table", options.output_table, "Table of that database [outcomes]")->option_text("NAME");
  CLI::Option* resume =
      command->add_flag("--resume", options.resume, "Go on with what the output lacks or has as failed");
  command->add_flag("--restart", options.restart, "Begin anew, and drop what the output has")->excludes(resume);
  command->add_option("--include", options.include, "Files of the folder to take, like '*.jpg'; may be repeated")
      ->option_text("GLOB")
      ->allow_extra_args(false);
  CLI::Option* table =
      command->add_option("--table", options.table, "Table of the database, each row an object")->option_text("NAME");
  command->add_option("--query", options.query, "Rows of the database, instead of a table's")
      ->option_text("SELECT")
      ->excludes(table);
  command
      ->add_option("--id-field,--id-column", options.id_field,
                   "Member or column that is an input's id [number; of a database: the first]")
      ->option_text("NAME");
  command->add_option("--concurrency", options.concurrency, "Requests at a time, 1 to 256 [4]")
      ->option_text("N")
      ->check(CLI::Range(1U, 256U));
  command->add_option("--limit", options.limit, "The first N inputs alone")->option_text("N");
  command->add_option("--path", options.path, "Path in a web function [/]")->option_text("PATH");
  command->add_option("--method", options.method, "Method, of a web function [POST]")->option_text("METHOD");
  command->add_option("--content-type", options.content_type, "Type of every body (default: by the file's name)")
      ->option_text("TYPE");
  command->add_option("--retries", options.retries, "Tries after the first where the connection breaks, 0 to 100 [5]")
      ->option_text("N")
      ->check(CLI::Range(0U, 100U));
  command->add_option("--timeout", options.timeout_s, "Bound of one try in seconds, 1 to 86400 [900]")
      ->option_text("S")
      ->check(CLI::Range(1U, 86400U));
  command
      ->add_option("--schedule", options.schedule,
                   "Stay, and run at these times: 'rate(1 hour)', 'cron(0 8 * * ? *)' in UTC")
      ->option_text("EXPRESSION");
}

}  // namespace thaw::cli
