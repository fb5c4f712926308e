#include "api.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>

#include "commands.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

constexpr std::size_t kPagesMax = 100000;
constexpr std::size_t kMessageBytesMax = 2000;

ErrorKind kind_of_status(int status) {
  switch (status) {
    case 400:
    case 405:
    case 422:
      return ErrorKind::invalid_argument;
    case 401:
    case 403:
      return ErrorKind::forbidden;
    case 404:
      return ErrorKind::not_found;
    case 409:
    case 412:
      return ErrorKind::conflict;
    case 413:
    case 431:
      return ErrorKind::too_large;
    case 429:
      return ErrorKind::overloaded;
    case 501:
      return ErrorKind::unsupported;
    case 502:
      return ErrorKind::function_failed;
    case 503:
      return ErrorKind::unavailable;
    case 504:
      return ErrorKind::timeout;
    default:
      return ErrorKind::internal;
  }
}

void append_indented(std::string& out, const json::value& value, std::size_t depth) {
  const auto line = [&](std::size_t level) {
    out += '\n';
    out.append(level * 2, ' ');
  };
  if (value.is_object() && !value.get_object().empty()) {
    out += '{';
    bool first = true;
    for (const auto& [key, member] : value.get_object()) {
      if (!first) out += ',';
      first = false;
      line(depth + 1);
      out += json::serialize(json::string(key)) + ": ";
      append_indented(out, member, depth + 1);
    }
    line(depth);
    out += '}';
  } else if (value.is_array() && !value.get_array().empty()) {
    out += '[';
    bool first = true;
    for (const json::value& element : value.get_array()) {
      if (!first) out += ',';
      first = false;
      line(depth + 1);
      append_indented(out, element, depth + 1);
    }
    line(depth);
    out += ']';
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

QualifiedName qualified_name(std::string_view name) {
  const std::size_t colon = name.find(':');
  if (colon == std::string_view::npos) return {std::string(name), std::nullopt};
  return {std::string(name.substr(0, colon)), std::string(name.substr(colon + 1))};
}

std::string function_target(std::string_view name) {
  const QualifiedName parts = qualified_name(name);
  std::string target = "/2015-03-31/functions/" + percent_encode(parts.function);
  if (parts.qualifier) target += "?Qualifier=" + percent_encode(*parts.qualifier);
  return target;
}

Error error_of(const Response& response) {
  Error error{kind_of_status(response.status), "", ""};
  boost::system::error_code failed;
  const json::value body = json::parse(response.body, failed);
  if (!failed && body.is_object()) {
    const json::object& object = body.get_object();
    for (const char* key : {"Message", "message", "errorMessage"}) {
      if (error.message.empty()) error.message = text_field(object, key);
    }
    error.code = text_field(object, "code");
  }
  if (const std::string* type = response.header("x-amzn-ErrorType"); type != nullptr && error.code.empty()) {
    error.code = type->substr(0, type->find(':'));
  }
  if (error.message.empty()) {
    error.message = "the daemon answered with status " + std::to_string(response.status);
    if (!response.body.empty()) error.message += ": " + printable(response.body.substr(0, kMessageBytesMax));
  }
  return error;
}

Result<json::object> send_json(Client& client, const char* method, const std::string& target,
                               const json::object& body) {
  std::string text = json::serialize(body);
  Request request{.method = method, .target = target, .headers = {{"Content-Type", "application/json"}}};
  request.body_bytes = text.size();
  request.body = body_of(std::move(text));
  ASSIGN_OR_RETURN(const Response response, client.send(request));
  return object_of(response);
}

Result<json::object> object_of(const Response& response) {
  if (!response.ok()) return error_of(response);
  boost::system::error_code failed;
  json::value body = json::parse(response.body, failed);
  if (failed || !body.is_object()) {
    return Error{ErrorKind::internal,
                 "the answer is no JSON object: is there another server than thaw at that address?"};
  }
  return std::move(body.get_object());
}

Result<json::object> get_object(Client& client, const std::string& target) {
  ASSIGN_OR_RETURN(const Response response, client.send({.target = target}));
  return object_of(response);
}

Status for_each_function(Client& client, const std::function<void(const json::object&)>& visit) {
  std::string marker;
  for (std::size_t page = 0; page < kPagesMax; ++page) {
    std::string target = "/2015-03-31/functions?MaxItems=1000";
    if (!marker.empty()) target += "&Marker=" + percent_encode(marker);
    ASSIGN_OR_RETURN(const json::object answer, get_object(client, target));
    const json::value* functions = answer.if_contains("Functions");
    if (functions == nullptr || !functions->is_array()) {
      return Error{ErrorKind::internal,
                   "the list of functions has another shape than expected: is this a thaw daemon?"};
    }
    for (const json::value& function : functions->get_array()) {
      if (function.is_object()) visit(function.get_object());
    }
    const std::string next = text_field(answer, "NextMarker");
    if (next.empty() || next == marker) return {};
    marker = next;
  }
  return {};
}

Result<std::vector<std::string>> function_names(Client& client) {
  std::vector<std::string> names;
  RETURN_IF_ERROR(for_each_function(
      client, [&](const json::object& function) { names.push_back(text_field(function, "FunctionName")); }));
  return names;
}

Error with_suggestions(Client& client, std::string_view qualified, Error error) {
  const std::string_view name = qualified.substr(0, qualified.find(':'));
  if (error.kind != ErrorKind::not_found) return error;
  const Result<std::vector<std::string>> names = function_names(client);
  if (!names.ok()) return error;
  for (const std::string& known : *names) {
    // The function is there: something else was not found.
    if (edit_distance(known, name) == 0 && known.size() == name.size()) return error;
  }
  std::string hint = did_you_mean(name, *names);
  if (hint.empty()) {
    hint = names->empty() ? "; nothing is deployed yet, begin with: thaw deploy FOLDER"
                          : "; `thaw list` shows those there are";
  }
  error.message = "there is no function named '" + printable(name) + "'" + hint;
  return error;
}

std::string text_field(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

std::uint64_t count_field(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return 0;
  if (value->is_double()) return value->get_double() > 0 ? static_cast<std::uint64_t>(value->get_double()) : 0;
  if (value->is_int64()) return value->get_int64() > 0 ? static_cast<std::uint64_t>(value->get_int64()) : 0;
  return value->get_uint64();
}

const json::object& object_field(const json::object& object, std::string_view key) {
  static const json::object empty;
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_object() ? value->get_object() : empty;
}

std::string model_text(const json::object& thaw) {
  const json::object& model = object_field(thaw, "Model");
  if (model.empty()) return "";
  return text_field(model, "Uri") + ", " + human_bytes(count_field(model, "Bytes"));
}

std::string command_text(const json::object& configuration) {
  const json::object& thaw = object_field(configuration, "Thaw");
  if (const std::string runtime = text_field(configuration, "Runtime"); !runtime.empty()) {
    const std::string handler = text_field(configuration, "Handler");
    return handler.empty() ? runtime : runtime + " (" + handler + ")";
  }
  const std::string engine = text_field(thaw, "Engine");
  if (!engine.empty()) {
    const std::string task = text_field(thaw, "Task");
    return task.empty() ? engine : engine + " (" + task + ")";
  }
  const json::value* command = thaw.if_contains("Command");
  if (command == nullptr || !command->is_array()) return "";
  std::string text;
  for (const json::value& word : command->get_array()) {
    if (!word.is_string()) continue;
    if (!text.empty()) text += ' ';
    text += shell_quote(std::string_view(word.get_string()));
  }
  return text;
}

bool takes_events(const json::object& configuration) {
  return text_field(object_field(configuration, "Thaw"), "Kind") == "event";
}

std::string snapshot_text(const json::object& configuration) {
  const json::object& snapshot = object_field(object_field(configuration, "Thaw"), "SnapshotState");
  if (snapshot.empty()) return "";
  const std::string making = text_field(snapshot, "Making");
  const std::string now = making.empty() ? "" : " (being made: " + making + ")";
  if (const std::uint64_t bytes = count_field(snapshot, "Bytes"); bytes > 0)
    return human_bytes(bytes) + ", made " + text_field(snapshot, "MadeAt").substr(0, 19) + now;
  const std::string why = text_field(snapshot, "NoneBecause");
  if (!why.empty()) return "none: " + why + now;
  if (text_field(configuration, "State") == "Pending") return "none yet" + now;
  return "none" + now;
}

void print_json(const json::value& value) {
  std::string text;
  append_indented(text, value, 0);
  text += '\n';
  std::fwrite(text.data(), 1, text.size(), stdout);
}

int report(const Session& session, const Error& error) {
  if (session.json()) {
    const json::value value = {
        {"error", {{"kind", to_string(error.kind)}, {"code", error.code}, {"message", error.message}}}};
    std::fprintf(stderr, "%s\n", json::serialize(value).c_str());
  } else {
    std::fprintf(stderr, "%s %s\n", session.terminal.err(Color::red, "error:").c_str(),
                 printable(error.message).c_str());
  }
  return kExitError;
}

}  // namespace thaw::cli
