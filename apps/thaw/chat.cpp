// `thaw chat`: questions to a model, its answers as they are written.
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <cstdio>

#include "api.h"
#include "base/sys.h"
#include "chat_stream.h"
#include "commands.h"
#include "conversation.h"
#include "interrupt.h"
#include "line_reader.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

constexpr std::size_t kQuestionBytesMax = 8 << 20;
constexpr std::size_t kErrorBodyBytesMax = 1 << 20;
constexpr double kTemperatureMax = 100;
constexpr const char* kInterruptedCode = "Client.Interrupted";

constexpr const char* kHelp =
    "/help          this text\n"
    "/system TEXT   what the model is told before all else; without TEXT: nothing\n"
    "/clear         begin anew: forget what was said\n"
    "/exit          end (ctrl-D as well)\n"
    "Ctrl-C stops an answer. A question that begins with a slash is written with two.\n";

std::string request_body(const ChatOptions& options, const Conversation& conversation) {
  json::object body = {{"model", options.name},
                       {"messages", conversation.messages()},
                       {"stream", true},
                       {"stream_options", {{"include_usage", true}}}};
  if (options.max_tokens) body["max_tokens"] = *options.max_tokens;
  if (options.temperature) body["temperature"] = *options.temperature;
  return json::serialize(body);
}

// What an answer of status 400 and above means to a person.
Error explain(Session& session, const ChatOptions& options, const Response& response) {
  Error error = error_of(response);
  boost::system::error_code failed;
  const json::value value = json::parse(response.body, failed);
  if (!failed && value.is_object()) {
    const json::object& told = object_field(value.get_object(), "error");
    if (const std::string message = text_field(told, "message"); !message.empty()) error.message = message;
    error.code = text_field(told, "code");
  }
  if (error.code == "model_not_found") return with_suggestions(session.client, options.name, std::move(error));
  if (response.status == 404 || response.status == 405 || response.status == 501) {
    return {ErrorKind::unsupported,
            options.name + " is no chat model: it answers POST /v1/chat/completions with status " +
                std::to_string(response.status),
            "Chat.NoChat"};
  }
  if (error.code.starts_with("Function.") || error.code.starts_with("Init."))
    error.message += "; its log says more: thaw logs " + qualified_name(options.name).function;
  return error;
}

struct Asked {
  ChatAnswer answer;           // as far as it came
  std::optional<Error> error;  // why no further

  bool interrupted() const { return error && error->code == kInterruptedCode; }
};

Asked ask(Session& session, const ChatOptions& options, const Conversation& conversation, OnPiece on_piece) {
  using Clock = ChatStream::Clock;
  std::string body = request_body(options, conversation);
  Request request{.method = "POST", .target = "/v1/chat/completions"};
  request.headers = {{"Content-Type", "application/json"}, {"Accept", "text/event-stream"}};
  request.body_bytes = body.size();
  request.body = body_of(std::move(body));
  request.keep_going = []() -> Status {
    if (InterruptGuard::signal_seen() == 0) return {};
    return Error{ErrorKind::unavailable, "interrupted", kInterruptedCode};
  };
  ChatStream stream(std::move(on_piece), Clock::now());
  Response other;  // than a stream
  const Result<ResponseHead> head =
      session.client.stream(request, [&](const ResponseHead& so_far, std::string_view bytes) -> Status {
        const std::string* type = so_far.header("Content-Type");
        if (so_far.ok() && type != nullptr && type->starts_with("text/event-stream"))
          return stream.feed(bytes, Clock::now());
        const std::size_t bytes_max = so_far.ok() ? kAnswerBytesMax : kErrorBodyBytesMax;
        other.body += bytes.substr(0, bytes_max - std::min(other.body.size(), bytes_max));
        return {};
      });
  Asked asked;
  if (!head.ok()) {
    asked.error = head.error();
    if (asked.error->code == "Client.ConnectionLost")
      asked.error->message =
          "the answer was cut off; the function's log says why: thaw logs " + qualified_name(options.name).function;
  } else if (!head->ok()) {
    static_cast<ResponseHead&>(other) = *head;
    asked.error = explain(session, options, other);
  } else if (!other.body.empty()) {
    if (const Status taken = stream.take_whole(other.body, Clock::now()); !taken.ok()) asked.error = taken.error();
  }
  if (!asked.error && !stream.complete()) {
    asked.error = Error{ErrorKind::function_failed, "the answer ended before its end: the function's stream just stops",
                        "Chat.CutOff"};
  }
  asked.answer = std::move(stream).finish(Clock::now());
  return asked;
}

// Shows an answer as it comes. Reasoning is for people alone: a program gets the answer.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(const Terminal& terminal) : terminal_(terminal) {}

  void show(PieceKind kind, std::string_view text) {
    const bool people = terminal_.out_is_terminal();
    if (kind == PieceKind::reasoning && !people) return;
    if (kind == PieceKind::text && std::exchange(last_kind_, kind) == PieceKind::reasoning) print("\n\n");
    last_kind_ = kind;
    if (!people) return print(text);
    print(kind == PieceKind::reasoning ? terminal_.out(Color::dim, printable(text)) : printable(text));
    at_line_start_ = text.ends_with('\n');
  }
  void end_line() {
    if (!at_line_start_) print("\n");
  }

 private:
  void print(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
    at_line_start_ = text.ends_with('\n');
  }

  const Terminal& terminal_;
  PieceKind last_kind_ = PieceKind::text;
  bool at_line_start_ = true;
};

void print_stats(const Session& session, const ChatAnswer& answer) {
  std::string line = stats_line(answer);
  if (answer.finish_reason == "length") line += ", stopped at the limit of tokens";
  std::fprintf(stderr, "%s\n", session.terminal.err(Color::dim, line).c_str());
}

json::object json_answer(const ChatOptions& options, ChatAnswer answer) {
  using Milliseconds = std::chrono::duration<double, std::milli>;
  json::object shown = {{"Model", options.name},
                        {"Answer", answer.text},
                        {"FinishReason", answer.finish_reason},
                        {"Tokens", answer.tokens()},
                        {"TokensPerSecond", answer.tokens_per_second()},
                        {"DurationMs", Milliseconds(answer.took).count()}};
  if (answer.to_first_piece) shown["FirstTokenMs"] = Milliseconds(*answer.to_first_piece).count();
  shown["Usage"] = std::move(answer.usage);
  shown["Timings"] = std::move(answer.timings);
  return shown;
}

int failed(const Session& session, const Asked& asked) {
  if (!asked.interrupted()) return report(session, *asked.error);
  return kExitInterrupted;
}

int ask_once(Session& session, const ChatOptions& options, std::string question) {
  Conversation conversation;
  conversation.set_system(options.system);
  conversation.add_question(std::move(question));
  const InterruptGuard guard;
  AnswerPrinter printer(session.terminal);
  const bool json = session.json();
  Asked asked = ask(session, options, conversation, [&](PieceKind kind, std::string_view text) {
    if (!json) printer.show(kind, text);
  });
  if (!json) printer.end_line();
  if (asked.error) return failed(session, asked);
  if (json) {
    print_json(json_answer(options, std::move(asked.answer)));
  } else {
    print_stats(session, asked.answer);
  }
  return kExitOk;
}

// One chat on a terminal.
class Chat {
 public:
  Chat(Session& session, const ChatOptions& options)
      : session_(session), options_(options), lines_(session.terminal.out_is_terminal()) {
    conversation_.set_system(options.system);
  }

  int run() {
    const InterruptGuard guard;
    say("chat with " + options_.name + "; /help tells what else can be typed, ctrl-D ends");
    for (;;) {
      InterruptGuard::clear();
      const LineReader::Line line = lines_.read("> ");
      if (InterruptGuard::signal_seen() == SIGTERM) return kExitInterrupted;
      if (line.end == LineReader::End::interrupted) {
        std::fputs("\n", stdout);
        continue;
      }
      if (line.end == LineReader::End::end) {
        std::fputs("\n", stdout);
        return kExitOk;
      }
      const bool is_command = line.text.starts_with('/') && !line.text.starts_with("//");
      if (is_command && !obey(line.text)) return kExitOk;
      if (!is_command && line.text.find_first_not_of(" \t") != std::string::npos)
        answer(line.text.substr(line.text.starts_with("//") ? 1 : 0));
      if (InterruptGuard::signal_seen() == SIGTERM) return kExitInterrupted;
    }
  }

 private:
  void say(const std::string& text) const {
    std::fprintf(stderr, "%s\n", session_.terminal.err(Color::dim, printable(text)).c_str());
  }

  // False: the end.
  bool obey(const std::string& line) {
    const std::size_t blank = line.find_first_of(" \t");
    const std::string command = line.substr(0, blank);
    const std::size_t begin = line.find_first_not_of(" \t", blank);
    const std::string rest = begin == std::string::npos ? "" : line.substr(begin);
    if (command == "/exit" || command == "/quit") return false;
    if (command == "/help") {
      std::fputs(kHelp, stderr);
    } else if (command == "/clear") {
      conversation_.clear();
      say("forgotten");
    } else if (command == "/system") {
      conversation_.set_system(rest);
      say(rest.empty() ? "no system message" : "the system message holds from the next question on");
    } else {
      say("there is no " + command + "; /help shows what there is");
    }
    return true;
  }

  void answer(std::string question) {
    if (!is_valid_utf8(question)) return say("that is not UTF-8: nothing was asked");
    const std::size_t left_out = conversation_.left_out();
    conversation_.add_question(std::move(question));
    AnswerPrinter printer(session_.terminal);
    const Asked asked = ask(session_, options_, conversation_,
                            [&](PieceKind kind, std::string_view text) { printer.show(kind, text); });
    printer.end_line();
    if (asked.error && !asked.interrupted()) (void)report(session_, *asked.error);
    if (asked.interrupted()) say("stopped");
    if (!asked.error) print_stats(session_, asked.answer);
    // What was read of a broken answer is part of the talk.
    if (asked.answer.text.empty()) {
      conversation_.drop_question();
    } else {
      conversation_.add_answer(asked.answer.text);
    }
    if (conversation_.left_out() > left_out) say("(the oldest messages are left out from here on)");
  }

  Session& session_;
  const ChatOptions& options_;
  LineReader lines_;
  Conversation conversation_;
};

Result<std::string> question_of_stdin() {
  std::string question;
  const UniqueFd input(::dup(STDIN_FILENO));
  for (;;) {
    char piece[65536];
    ASSIGN_OR_RETURN(const std::size_t count, sys::read_some(input, piece));
    if (count == 0) break;
    question.append(piece, count);
    if (question.size() > kQuestionBytesMax) {
      return Error{ErrorKind::too_large,
                   "the question is larger than " + std::to_string(kQuestionBytesMax >> 20) + " MB"};
    }
  }
  while (question.ends_with('\n') || question.ends_with('\r')) question.pop_back();
  return question;
}

Status check_options(const ChatOptions& options) {
  for (const std::string* text : {&options.name, &options.system}) {
    if (!is_valid_utf8(*text)) return invalid_argument("NAME and --system must be UTF-8");
  }
  if (options.max_tokens && *options.max_tokens == 0) return invalid_argument("--max-tokens: must be at least 1");
  const double temperature = options.temperature.value_or(0);
  if (!std::isfinite(temperature) || temperature < 0 || temperature > kTemperatureMax)
    return invalid_argument("--temperature: must be a number from 0 to " +
                            std::to_string(static_cast<int>(kTemperatureMax)));
  return {};
}

// So that a chat does not begin with a question to nobody.
Status check_model(Session& session, const ChatOptions& options) {
  ASSIGN_OR_RETURN(const Response response,
                   session.client.send({.target = "/v1/models/" + percent_encode(options.name)}));
  if (response.status == 404) return explain(session, options, response);
  return {};
}

}  // namespace

int run_chat(Session& session, const ChatOptions& options) {
  if (const Status checked = check_options(options); !checked.ok()) {
    (void)report(session, checked.error());
    return kExitUsage;
  }
  if (!options.question && ::isatty(STDIN_FILENO) != 0) {
    if (session.json()) {
      (void)report(session, invalid_argument("--json needs a question: thaw chat NAME 'QUESTION' --json"));
      return kExitUsage;
    }
    if (const Status known = check_model(session, options); !known.ok()) return report(session, known.error());
    return Chat(session, options).run();
  }
  Result<std::string> question = options.question ? *options.question : question_of_stdin();
  if (!question.ok()) return report(session, question.error());
  if (!is_valid_utf8(*question)) return report(session, invalid_argument("the question is not UTF-8"));
  if (question->find_first_not_of(" \t\r\n") == std::string::npos)
    return report(session, invalid_argument("the question is empty"));
  return ask_once(session, options, std::move(*question));
}

}  // namespace thaw::cli
