// `thaw deploy`: plan the package, check what can be checked here, then stream it to the daemon.
#include <algorithm>
#include <boost/json/value.hpp>
#include <cstdio>
#include <utility>

#include "api.h"
#include "commands.h"
#include "deploy_request.h"
#include "interrupt.h"
#include "package.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

Result<Response> upload(Session& session, const PackagePlan& plan, const std::string& target) {
  PackageReader reader(plan);
  ProgressBar bar(session.terminal, "Uploading", plan.bytes);
  Request request{.method = "PUT", .target = target};
  request.headers.emplace_back("Content-Type", "application/zip");
  if (!plan.zip_path.empty()) request.body_bytes = plan.bytes;
  request.body = [&](std::span<char> into) {
    bar.update(reader.bytes_read());
    return reader.read(into);
  };
  request.keep_going = [&]() -> Status {
    bar.update(reader.bytes_read());
    if (InterruptGuard::signal_seen() == 0) return {};
    if (reader.bytes_read() < plan.bytes) {
      return Error{ErrorKind::unavailable, "interrupted; nothing was deployed", "Client.Interrupted"};
    }
    return Error{ErrorKind::unavailable,
                 "interrupted while the daemon was checking the package; `thaw list` shows "
                 "whether it was deployed",
                 "Client.Interrupted"};
  };
  const InterruptGuard guard;
  return session.client.send(request);
}

// A request that shows the function at work.
std::string try_line(const json::object& thaw, const std::string& url) {
  std::string base = url;
  while (base.ends_with('/')) base.pop_back();
  if (text_field(thaw, "Task") == "question-answering") {
    return "curl -G " + shell_quote(base + "/question") +
           " --data-urlencode 'question=What is the color of my car now?'"
           " --data-urlencode 'context=My car used to be blue but I painted red'";
  }
  if (text_field(thaw, "Task") == "image-classification") {
    return "curl --data-binary @photo.jpg " + shell_quote(base + "/");
  }
  return "curl " + shell_quote(base + "/");
}

void print_deployed(const Session& session, const json::object& function, bool created) {
  const json::object& thaw = object_field(function, "Thaw");
  const std::string name = text_field(function, "FunctionName");
  const std::string url = text_field(thaw, "Url");
  const std::string host_url = text_field(thaw, "HostUrl");
  std::string out = session.terminal.out(Color::green, created ? "deployed" : "updated") + " " +
                    session.terminal.out(Color::bold, printable(name)) + "\n\n";
  const auto line = [&](const char* label, const std::string& value) {
    if (value.empty()) return;
    out += "  " + std::string(label);
    out.append(10 - std::string_view(label).size(), ' ');
    out += printable(value) + "\n";
  };
  line(!text_field(function, "Runtime").empty() ? "runtime"
       : text_field(thaw, "Engine").empty()     ? "command"
                                                : "engine",
       command_text(function));
  line("model", model_text(thaw));
  line("code", human_bytes(count_field(function, "CodeSize")));
  line("memory", std::to_string(count_field(function, "MemorySize")) + " MB");
  line("timeout", std::to_string(count_field(function, "Timeout")) + " s");
  line("url", url);
  line("", host_url);
  out += "\nTry it:\n\n";
  if (text_field(thaw, "Engine") == "llama-server") {
    out += "  thaw chat " + name + "\n";
  } else if (takes_events(function)) {
    out += "  thaw invoke " + name + " -d '{}'\n";
  } else if (!url.empty()) {
    out += "  " + try_line(thaw, url) + "\n";
  }
  out += "  thaw logs " + name + " --follow\n";
  std::fwrite(out.data(), 1, out.size(), stdout);
}

Result<std::pair<Response, json::object>> deploy(Session& session, const DeployOptions& options) {
  ASSIGN_OR_RETURN(PackagePlan plan, plan_package(options.path));
  ASSIGN_OR_RETURN(const DeployRequest request, check_deploy(plan, options));
  if (!session.json()) {
    for (const std::string& note : plan.notes) std::fprintf(stderr, "%s\n", printable(note).c_str());
  }
  // With its progress on the terminal; the daemon then finds it in memory.
  if (!request.model_address.empty()) {
    ASSIGN_OR_RETURN([[maybe_unused]] const json::object model,
                     pull_model(session, request.model_address, request.model_sha256));
  }
  std::string target = "/thaw/v1/functions/" + percent_encode(request.name) + "/package";
  if (!request.overrides.empty()) target += "?config=" + percent_encode(request.overrides);
  ASSIGN_OR_RETURN(Response response, upload(session, plan, target));
  ASSIGN_OR_RETURN(json::object function, object_of(response));
  return std::make_pair(std::move(response), std::move(function));
}

}  // namespace

int run_deploy(Session& session, const DeployOptions& options) {
  Result<std::pair<Response, json::object>> deployed = deploy(session, options);
  if (!deployed.ok()) {
    report(session, deployed.error());
    return deployed.error().code == "Client.Interrupted" ? kExitInterrupted : kExitError;
  }
  if (session.json()) {
    print_json(deployed->second);
  } else {
    print_deployed(session, deployed->second, deployed->first.status == 201);
  }
  return kExitOk;
}

}  // namespace thaw::cli
