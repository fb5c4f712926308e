#include "batch_invoker.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <memory>
#include <optional>

#include "api.h"
#include "base/sys.h"
#include "model/compact_json.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kFirstBackoff{500};
constexpr milliseconds kLastBackoff{30000};
// Of one input, all waits for a busy daemon together.
constexpr milliseconds kBusyMax = std::chrono::minutes(15);
constexpr milliseconds kBusyWaitMax = std::chrono::minutes(5);
constexpr std::size_t kErrorBytesMax = 4096;
constexpr char kFunctionError[] = "X-Amz-Function-Error";
constexpr char kTimeoutCode[] = "Batch.Timeout";
constexpr char kTooLargeCode[] = "Batch.AnswerTooLarge";
constexpr char kInputCode[] = "Batch.Input";

Error interrupted() { return {ErrorKind::unavailable, "interrupted", "Client.Interrupted"}; }

std::string cut(std::string text) {
  if (!is_valid_utf8(text)) return std::to_string(text.size()) + " bytes that are no text";
  if (text.size() <= kErrorBytesMax) return text;
  text.resize(kErrorBytesMax);
  while (!text.empty() && !is_valid_utf8(text)) text.pop_back();
  return text + "…";
}

// What an answer of a failure says: Lambda's errorMessage with its errorType, Thaw's message, or all of it.
std::string failure_text(const Response& response) {
  boost::system::error_code failed;
  const json::value body = json::parse(response.body, failed);
  if (!failed && body.is_object()) {
    const json::object& object = body.get_object();
    for (const char* key : {"errorMessage", "message", "Message"}) {
      const std::string message = text_field(object, key);
      if (message.empty()) continue;
      const std::string type = text_field(object, "errorType");
      return cut(type.empty() ? message : type + ": " + message);
    }
  }
  if (!response.body.empty()) return cut(response.body);
  return "the function answered with status " + std::to_string(response.status);
}

void take_answer(Response& response, bool is_json, BatchOutcome& outcome) {
  if (response.body.empty()) return;
  const bool is_text = is_valid_utf8(response.body);
  if (is_json && is_text) {
    boost::system::error_code failed;
    (void)json::parse(response.body, failed);
    if (!failed) {
      outcome.kind = AnswerKind::json;
      outcome.answer = model::compact_json(response.body);
      return;
    }
  }
  outcome.kind = is_text ? AnswerKind::text : AnswerKind::bytes;
  outcome.answer = std::move(response.body);
}

bool says_json(const Response& response) {
  const std::string* type = response.header("Content-Type");
  return type != nullptr && type->find("json") != std::string::npos;
}

milliseconds retry_after(const Response& response) {
  const std::string* text = response.header("Retry-After");
  const std::optional<std::uint64_t> seconds = text == nullptr ? std::nullopt : parse_count(*text);
  if (!seconds) return milliseconds(1000);
  return std::min(kBusyWaitMax,
                  milliseconds(1000) * static_cast<milliseconds::rep>(std::min<std::uint64_t>(*seconds, 3600)));
}

bool is_busy(const Response& response) {
  return response.status == 429 || (response.status == 503 && response.header("Retry-After") != nullptr);
}

BatchOutcome failed_outcome(const BatchItem& item, std::string why) {
  BatchOutcome outcome;
  outcome.id = item.id;
  outcome.error = cut(std::move(why));
  return outcome;
}

}  // namespace

void BatchStop::request(Level level) {
  const std::lock_guard lock(mutex_);
  level_ = std::max(level_, level);
  changed_.notify_all();
}

BatchStop::Level BatchStop::level() const {
  const std::lock_guard lock(mutex_);
  return level_;
}

bool BatchStop::sleep_for(milliseconds time) const {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, time, [&] { return level_ != Level::none; });
}

void BatchWaits::begin(std::string why) {
  const std::lock_guard lock(mutex_);
  ++count_;
  why_ = std::move(why);
}

void BatchWaits::end() {
  const std::lock_guard lock(mutex_);
  --count_;
}

std::string BatchWaits::text() const {
  const std::lock_guard lock(mutex_);
  return count_ == 0 ? "" : std::to_string(count_) + " waiting: " + why_;
}

milliseconds BatchInvoker::with_jitter(milliseconds wait) {
  // Those that failed together do not come back together.
  std::uniform_int_distribution<milliseconds::rep> extra(0, wait.count() / 4);
  return wait + milliseconds(extra(random_));
}

Result<Request> BatchInvoker::request_of(const BatchItem& item) const {
  Request request{.method = target_.method, .target = target_.target};
  request.headers.emplace_back("Content-Type", target_.content_type.empty() ? item.content_type : target_.content_type);
  if (item.file.empty()) {
    request.body_bytes = item.body.size();
    request.body = body_of(item.body);
  } else {
    Result<UniqueFd> opened = sys::open(item.file, O_RDONLY);
    if (!opened.ok()) return Error{ErrorKind::not_found, opened.error().message, kInputCode};
    auto fd = std::make_shared<UniqueFd>(std::move(*opened));
    struct stat info {};
    if (::fstat(fd->get(), &info) != 0) return Error{ErrorKind::not_found, "cannot be read: " + item.file, kInputCode};
    const auto bytes = static_cast<std::uint64_t>(info.st_size);
    request.body_bytes = bytes;
    request.body = [fd, left = bytes](std::span<char> into) mutable -> Result<std::size_t> {
      const std::size_t count = std::min<std::uint64_t>(into.size(), left);
      if (count == 0) return std::size_t{0};
      const auto got = sys::read_some(*fd, into.first(count));
      if (!got.ok()) return Error{ErrorKind::unavailable, got.error().message, kInputCode};
      if (*got == 0) return Error{ErrorKind::conflict, "the file has become shorter meanwhile", kInputCode};
      left -= *got;
      return *got;
    };
  }
  request.keep_going = [this, until = Clock::now() + target_.timeout]() -> Status {
    if (stop_.level() == BatchStop::Level::let_go) return interrupted();
    if (Clock::now() < until) return {};
    return Error{ErrorKind::timeout, "no answer within " + std::to_string(target_.timeout.count()) + " s (--timeout)",
                 kTimeoutCode};
  };
  return request;
}

// busy_for: how long the answer asks to be left alone; 0 when it counts.
Result<BatchOutcome> BatchInvoker::send(const BatchItem& item, milliseconds& busy_for) {
  ASSIGN_OR_RETURN(const Request request, request_of(item));
  const auto started = Clock::now();
  Response response;
  ASSIGN_OR_RETURN(ResponseHead head,
                   client_.stream(request, [&](const ResponseHead&, std::string_view bytes) -> Status {
                     if (response.body.size() + bytes.size() > kBatchAnswerBytesMax)
                       return Error{ErrorKind::too_large,
                                    "the answer is larger than " + std::to_string(kBatchAnswerBytesMax >> 20) + " MB",
                                    kTooLargeCode};
                     response.body += bytes;
                     return {};
                   }));
  static_cast<ResponseHead&>(response) = std::move(head);
  busy_for = is_busy(response) ? retry_after(response) : milliseconds(0);
  BatchOutcome outcome;
  outcome.id = item.id;
  outcome.status = response.status;
  outcome.duration_ms = std::chrono::duration<double, std::milli>(Clock::now() - started).count();
  if (response.ok() && response.header(kFunctionError) == nullptr) {
    take_answer(response, target_.takes_events || says_json(response), outcome);
  } else {
    outcome.error = failure_text(response);
  }
  return outcome;
}

Result<BatchOutcome> BatchInvoker::invoke(const BatchItem& item) {
  if (!item.fault.empty()) return failed_outcome(item, item.fault);
  milliseconds backoff = kFirstBackoff;
  milliseconds waited{0};
  for (unsigned broken = 0; stop_.level() == BatchStop::Level::none;) {
    milliseconds pause{0};
    std::string why;
    Result<BatchOutcome> outcome = send(item, pause);
    if (outcome.ok()) {
      if (pause.count() == 0 || waited >= kBusyMax) return outcome;
      waited += pause;
      why = outcome->status == 429 ? "the function is busy (429)" : "thaw is not ready (503)";
    } else {
      const std::string& code = outcome.error().code;
      if (code == kTimeoutCode || code == kTooLargeCode || code == kInputCode)
        return failed_outcome(item, outcome.error().message);
      const bool is_away = code == "Client.Unreachable";
      if (!is_away && code != "Client.ConnectionLost") return outcome;
      if (broken++ == target_.retries) {
        if (is_away) return outcome;
        return failed_outcome(item, outcome.error().message);
      }
      why = is_away ? "thaw is away" : "the connection broke";
      pause = backoff;
      backoff = std::min(backoff * 2, kLastBackoff);
    }
    waits_.begin(std::move(why));
    const bool go_on = stop_.sleep_for(with_jitter(pause));
    waits_.end();
    if (!go_on) break;
  }
  return interrupted();
}

}  // namespace thaw::cli
