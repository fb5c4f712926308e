// OfflineFeaturesApi's historical features: the entities come into a file, the answer is made in another, and sent.
#include <fcntl.h>

#include "base/log.h"
#include "base/sys.h"
#include "base/uuid.h"
#include "gateway/historical_request.h"
#include "gateway/offline_features_api.h"
#include "gateway/upload.h"
#include "http/off_loop.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr std::size_t kPieceBytes = 256 << 10;

// One of those that may run at the same time.
class Place {
 public:
  explicit Place(std::atomic<std::size_t>& running) : running_(running), had_(++running <= kHistoricalRunningMax) {}
  ~Place() { --running_; }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  bool had() const { return had_; }

 private:
  std::atomic<std::size_t>& running_;
  const bool had_;
};

}  // namespace

// Its files go with it.
struct OfflineFeaturesApi::Join {
  explicit Join(const std::string& folder)
      : entities_path(folder + "/entities-" + random_uuid()), answer_path(folder + "/answer-" + random_uuid()) {}
  ~Join() {
    (void)sys::remove_tree(entities_path).ok();
    (void)sys::remove_tree(answer_path).ok();
  }
  Join(const Join&) = delete;
  Join& operator=(const Join&) = delete;

  const std::string entities_path;
  const std::string answer_path;
  features::HistoricalRequest request;
  std::atomic<bool> cancelled{false};
};

Status OfflineFeaturesApi::choose(Join& join, const std::vector<std::string>& features,
                                  const std::string& service) const {
  const auto definitions = store_.definitions();
  std::vector<features::FeatureReference> references;
  if (!service.empty()) {
    const auto found = definitions->services.find(service);
    if (found == definitions->services.end())
      return Error{ErrorKind::not_found,
                   "there is no feature service '" + service.substr(0, model::kFeatureNameBytesMax) + "'"};
    references = found->second.features;
  }
  for (const std::string& text : features) {
    ASSIGN_OR_RETURN(features::FeatureReference reference, features::parse_reference(text));
    references.push_back(std::move(reference));
  }
  ASSIGN_OR_RETURN(join.request.views, features::historical_views(*definitions, references));
  return {};
}

http::Task<Status> OfflineFeaturesApi::take_json(http::Exchange& exchange, Join& join) {
  const auto text = co_await exchange.read_whole_body(kHistoricalJsonBytesMax);
  if (!text.ok()) co_return text.error();
  co_return co_await http::off_loop(workers_, exchange.loop(), [&]() -> Status {
    ASSIGN_OR_RETURN(const HistoricalBody body, parse_historical_body(*text));
    RETURN_IF_ERROR(choose(join, body.question.features, body.question.service));
    join.request.full_feature_names = body.question.full_feature_names;
    ASSIGN_OR_RETURN(const UniqueFd file, sys::open(join.entities_path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    return sys::write_all(file, body.entities_csv);
  });
}

http::Task<Status> OfflineFeaturesApi::take_csv(http::Exchange& exchange, const Query& query, Join& join) {
  const auto question = historical_question(query);
  if (!question.ok()) co_return question.error();
  Status chosen = choose(join, question->features, question->service);
  if (!chosen.ok()) co_return chosen;
  join.request.full_feature_names = question->full_feature_names;
  const Upload upload{.path = join.entities_path,
                      .bytes_max = options_.upload_bytes_max,
                      .what = "file of entities",
                      .data_folder = options_.folder};
  co_return co_await receive_upload(exchange, workers_, upload);
}

http::Task<Status> OfflineFeaturesApi::historical(http::Exchange& exchange, const Query& query) {
  const Place place(historical_running_);
  if (!place.had()) {
    co_return Error(ErrorKind::overloaded,
                    std::to_string(kHistoricalRunningMax) +
                        " requests for historical features run, which is the most: wait for one");
  }
  Join join(options_.folder);
  const bool csv = exchange.request().fields.find("content-type").starts_with("text/csv");
  Status taken;
  if (csv) {
    taken = co_await take_csv(exchange, query, join);
  } else {
    taken = co_await take_json(exchange, join);
  }
  if (!taken.ok()) co_return taken;
  exchange.set_on_client_gone([&join] { join.cancelled = true; });
  Status made = co_await http::off_loop(workers_, exchange.loop(), [&] { return write_answer(join); });
  exchange.set_on_client_gone({});
  if (!made.ok()) co_return made;
  co_return co_await send(exchange, join);
}

Status OfflineFeaturesApi::write_answer(const Join& join) const {
  ASSIGN_OR_RETURN(const UniqueFd file, sys::open(join.answer_path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  std::uint64_t bytes = 0;
  const auto write = [&](std::string_view part) -> Status {
    if (ending_) return Error{ErrorKind::unavailable, "the daemon is ending"};
    bytes += part.size();
    if (bytes > options_.answer_bytes_max)
      return Error{ErrorKind::too_large,
                   "the answer has more than " + std::to_string(options_.answer_bytes_max >> 20) + " MB"};
    return sys::write_all(file, part);
  };
  return features::write_historical(join.request,
                                    {.open_entities = [&] { return options_.open_csv(join.entities_path); },
                                     .open_source = options_.open_source,
                                     .make_spool = options_.make_spool,
                                     .write = write,
                                     .cancelled = join.cancelled});
}

http::Task<Status> OfflineFeaturesApi::send(http::Exchange& exchange, const Join& join) {
  const auto file = sys::open(join.answer_path, O_RDONLY);
  if (!file.ok()) co_return file.error();
  Status sent = co_await exchange.start_stream({.content_type = "text/csv; charset=utf-8"});
  std::vector<char> piece(kPieceBytes);
  while (sent.ok()) {
    const auto count = co_await http::off_loop(workers_, exchange.loop(), [&] { return sys::read_some(*file, piece); });
    if (!count.ok()) {
      // Half an answer must not look like one.
      exchange.reset_after();
      co_return count.error();
    }
    if (*count == 0) co_return co_await exchange.finish_stream();
    sent = co_await exchange.write_stream({piece.data(), *count});
  }
  co_return sent;
}

}  // namespace thaw::gateway
