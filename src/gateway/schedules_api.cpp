// The schedules of functions: what fires when, and adding and removing one.

#include <boost/json/array.hpp>

#include "gateway/control_api.h"
#include "gateway/control_request.h"
#include "gateway/function_json.h"
#include "http/off_loop.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr std::string_view kMembers[] = {"Expression", "Qualifier", "Input", "Enabled"};

boost::json::object schedule_json(const events::ScheduleView& view) {
  boost::json::object object{{"FunctionName", view.function},
                             {"Name", view.spec.name},
                             {"Expression", view.spec.expression},
                             {"Qualifier", view.spec.qualifier},
                             {"Input", view.spec.input},
                             {"Enabled", view.spec.enabled},
                             {"Source", view.added ? "api" : "manifest"}};
  // Seconds since 1970.
  if (view.fired_s > 0) object["LastFired"] = view.fired_s;
  if (view.next_s > 0) object["Next"] = view.next_s;
  return object;
}

Result<model::ScheduleSpec> spec_of(const std::string& name, const boost::json::object& body) {
  for (const auto& member : body) {
    if (std::find(std::begin(kMembers), std::end(kMembers), member.key()) == std::end(kMembers))
      return invalid_argument(std::string(member.key().substr(0, 100)) +
                              " is not possible here: a schedule takes Expression, Qualifier, Input and Enabled");
  }
  model::ScheduleSpec spec;
  spec.name = name;
  ASSIGN_OR_RETURN(const auto expression, string_of(body, "Expression"));
  if (!expression) return invalid_argument("Expression is missing");
  spec.expression = *expression;
  ASSIGN_OR_RETURN(const auto qualifier, string_of(body, "Qualifier"));
  spec.qualifier = qualifier.value_or("");
  ASSIGN_OR_RETURN(const auto input, string_of(body, "Input"));
  spec.input = input.value_or("");
  if (const boost::json::value* enabled = body.if_contains("Enabled")) {
    if (!enabled->is_bool()) return invalid_argument("Enabled must be true or false");
    spec.enabled = enabled->get_bool();
  }
  return spec;
}

}  // namespace

http::Task<Status> ControlApi::schedules(http::Exchange& exchange, std::string_view rest, const Query& query) {
  if (events_ == nullptr) co_return Error{ErrorKind::unavailable, "the daemon has no queue of events"};
  const std::string_view method = exchange.request().method;
  if (rest.empty() || rest == "/") {
    if (method != "GET") co_return no_method();
    const std::string function = value_of(query, "FunctionName");
    const auto views =
        co_await http::off_loop(workers_, exchange.loop(), [&] { return events_->scheduler().list(function); });
    boost::json::array items;
    for (const events::ScheduleView& view : views) items.push_back(schedule_json(view));
    const boost::json::object body{{"Schedules", std::move(items)}};
    co_return co_await answer_json(exchange, 200, body);
  }
  rest.remove_prefix(1);
  const std::size_t slash = rest.find('/');
  if (slash == std::string_view::npos) co_return Error{ErrorKind::not_found, "the control API has no such path"};
  const auto function = http::percent_decode(rest.substr(0, slash));
  if (!function.ok()) co_return function.error();
  const auto name = http::percent_decode(rest.substr(slash + 1));
  if (!name.ok()) co_return name.error();
  if (!http::is_utf8(*function) || !http::is_utf8(*name)) co_return invalid_argument("the path is not UTF-8");
  if (method == "PUT") co_return co_await change_schedule(exchange, *function, *name);
  if (method != "DELETE") co_return no_method();
  const Status removed =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return events_->scheduler().remove(*function, *name); });
  if (!removed.ok()) co_return removed;
  co_return co_await exchange.respond({.status = 204});
}

http::Task<Status> ControlApi::change_schedule(http::Exchange& exchange, const std::string& function,
                                               const std::string& name) {
  const auto body = co_await read_json(exchange);
  if (!body.ok()) co_return body.error();
  const auto spec = spec_of(name, *body);
  if (!spec.ok()) co_return spec.error();
  const Status put =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return events_->scheduler().put(function, *spec); });
  if (!put.ok()) co_return put;
  const auto views =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return events_->scheduler().list(function); });
  for (const events::ScheduleView& view : views) {
    if (view.spec.name == name) co_return co_await answer_json(exchange, 200, schedule_json(view));
  }
  co_return Error{ErrorKind::conflict, "the schedule was removed meanwhile"};
}

}  // namespace thaw::gateway
