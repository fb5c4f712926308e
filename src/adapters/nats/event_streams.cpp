#include "adapters/nats/event_streams.h"

#include <algorithm>
#include <boost/json.hpp>

namespace thaw::adapters {
namespace {

namespace json = boost::json;

constexpr const char* kEventField = "Thaw-Event";
constexpr const char* kStateField = "Thaw-State";
constexpr const char* kDeadField = "Thaw-Dead";
// The header of a message: its fields, and the longest names encoded.
constexpr std::size_t kHeadBytesMax = 8 << 10;

// JetStream's error codes (nats-server, errors.json).
constexpr int kInsufficientResources = 10023;
constexpr int kStorageExceeded = 10047;
constexpr int kSequenceNotFound = 10043;
constexpr int kDeleteFailed = 10057;
constexpr int kWrongLastSequence = 10071;
constexpr int kStoreFailed = 10077;

Stored failed(std::string why) { return {.kind = Stored::Kind::failed, .sequence = 0, .why = std::move(why)}; }

// The error of an answer of the server's; nothing when it is none.
struct ApiError {
  int code = 0;
  std::string description;
};
std::optional<ApiError> api_error(const json::value& answer) {
  const json::object* const object = answer.if_object();
  const json::value* const error = object == nullptr ? nullptr : object->if_contains("error");
  if (error == nullptr) return std::nullopt;
  ApiError found;
  if (const json::object* const fields = error->if_object()) {
    if (const json::value* const code = fields->if_contains("err_code"); code != nullptr && code->is_int64())
      found.code = static_cast<int>(code->as_int64());
    if (const json::value* const text = fields->if_contains("description"); text != nullptr && text->is_string())
      found.description = std::string(text->as_string());
  }
  return found;
}

Stored stored_of(const NatsMessage& message) {
  if (message == nullptr) return failed("it gave no answer in time");
  if (natsMsg_IsNoResponders(message.get())) return failed("JetStream is not available now");
  boost::system::error_code error;
  const json::value answer = json::parse(body_of(message.get()), error);
  if (error || !answer.is_object()) return failed("an answer cannot be read");
  if (const auto refused = api_error(answer)) {
    if (refused->code == kWrongLastSequence) return {.kind = Stored::Kind::other_sequence};
    const bool full =
        refused->code == kStoreFailed || refused->code == kInsufficientResources || refused->code == kStorageExceeded;
    return {.kind = full ? Stored::Kind::full : Stored::Kind::failed, .sequence = 0, .why = refused->description};
  }
  const json::value* const sequence = answer.as_object().if_contains("seq");
  if (sequence == nullptr || !sequence->is_int64()) return failed("an answer names no sequence");
  return {.kind = Stored::Kind::stored, .sequence = static_cast<std::uint64_t>(sequence->as_int64())};
}

}  // namespace

EventStreams::EventStreams(NatsConnection& connection, std::string stream)
    : connection_(connection), stream_(std::move(stream)), dead_stream_(stream_ + "_DEAD") {}

Status EventStreams::open(const NatsQueueOptions& options) {
  const std::size_t needed = ports::kEventBodyBytesMax + kHeadBytesMax;
  if (connection_.payload_bytes_max() < needed) {
    return Error{ErrorKind::unsupported,
                 connection_
                     .unavailable("its max_payload is " + std::to_string(connection_.payload_bytes_max()) +
                                  " bytes, and events need " + std::to_string(needed) +
                                  ": set max_payload = 10MB in the server's configuration")
                     .message};
  }
  jsOptions settings;
  jsOptions_Init(&settings);
  settings.Wait = NatsConnection::kAnswerMax.count();
  jsCtx* made = nullptr;
  if (natsConnection_JetStream(&made, connection_.get(), &settings) != NATS_OK) return internal_error("no JetStream");
  context_.reset(made);

  const std::string subject = read_subject();
  const char* subjects[] = {subject.c_str()};
  jsStreamConfig events;
  jsStreamConfig_Init(&events);
  events.Name = stream_.c_str();
  events.Description = "Thaw: events that were accepted";
  events.Subjects = subjects;
  events.SubjectsLen = 1;
  events.Storage = js_FileStorage;
  events.Retention = js_LimitsPolicy;
  events.Discard = js_DiscardNew;
  events.MaxMsgsPerSubject = 1;
  events.AllowDirect = true;
  RETURN_IF_ERROR(ensure(events));

  const std::string dead_subject = stream_ + ".dead";
  const char* dead_subjects[] = {dead_subject.c_str()};
  jsStreamConfig dead;
  jsStreamConfig_Init(&dead);
  dead.Name = dead_stream_.c_str();
  dead.Description = "Thaw: events that were given up";
  dead.Subjects = dead_subjects;
  dead.SubjectsLen = 1;
  dead.Storage = js_FileStorage;
  dead.Retention = js_LimitsPolicy;
  dead.Discard = js_DiscardOld;
  dead.MaxMsgs = static_cast<std::int64_t>(options.dead_max);
  dead.MaxBytes = static_cast<std::int64_t>(options.dead_bytes_max);
  dead.AllowDirect = true;
  return ensure(dead);
}

Status EventStreams::ensure(jsStreamConfig& wanted) {
  jsStreamInfo* raw = nullptr;
  jsErrCode code{};
  natsStatus status = js_GetStreamInfo(&raw, context_.get(), wanted.Name, nullptr, &code);
  if (status == NATS_NOT_FOUND) {
    status = js_AddStream(&raw, context_.get(), &wanted, nullptr, &code);
    // Another node was first.
    if (status != NATS_OK && code == JSStreamNameExistErr)
      status = js_GetStreamInfo(&raw, context_.get(), wanted.Name, nullptr, &code);
  }
  const NatsOwned<jsStreamInfo> info(raw);
  if (status == NATS_NO_RESPONDERS || code == JSNotEnabledErr || code == JSNotEnabledForAccountErr) {
    return Error{
        ErrorKind::unsupported,
        connection_.unavailable("JetStream is off: start it with -js, or with jetstream {} in its configuration")
            .message};
  }
  if (status != NATS_OK) {
    const char* const text = nats_GetLastError(nullptr);
    return connection_.unavailable("the stream " + std::string(wanted.Name) + ": " +
                                   (text != nullptr && *text != '\0' ? text : natsStatus_GetText(status)));
  }
  const jsStreamConfig& has = *info->Config;
  const bool fits = has.SubjectsLen == 1 && std::string_view(has.Subjects[0]) == wanted.Subjects[0] &&
                    (wanted.MaxMsgsPerSubject == 0 || has.MaxMsgsPerSubject == wanted.MaxMsgsPerSubject) &&
                    has.Retention == wanted.Retention && has.Discard == wanted.Discard && has.AllowDirect &&
                    has.MaxAge == 0 && !has.DenyDelete && has.Storage == js_FileStorage;
  if (fits) return {};
  return Error{ErrorKind::unsupported, connection_
                                           .unavailable("the stream " + std::string(wanted.Name) +
                                                        " is there and was not made by Thaw: give another name")
                                           .message};
}

Result<EventStreams::Name> EventStreams::name_of(std::string_view subject) const {
  const std::string events = stream_ + ".q.e.";
  const std::string states = stream_ + ".q.s.";
  Name name{.is_event = subject.starts_with(events)};
  if (!name.is_event && !subject.starts_with(states)) return Error{ErrorKind::corrupt, "the subject is another's"};
  ASSIGN_OR_RETURN(name.id, decode_token(subject.substr(events.size())));
  return name;
}

NatsRequest EventStreams::event(const std::string& id, const EventRecord& record, std::string_view body) const {
  return {.subject = stream_ + ".q.e." + encode_token(id),
          .fields = {{kEventField, encode(record)}, {"Nats-Expected-Last-Subject-Sequence", "0"}},
          .body = body};
}

NatsRequest EventStreams::state(const std::string& id, const StateRecord& record, std::uint64_t expected) const {
  return {.subject = stream_ + ".q.s." + encode_token(id),
          .fields = {{kStateField, encode(record)}, {"Nats-Expected-Last-Subject-Sequence", std::to_string(expected)}}};
}

NatsRequest EventStreams::dead(const DeadRecord& record, std::string_view body, const std::string& once) const {
  return {.subject = stream_ + ".dead",
          .fields = {{kDeadField, encode(record)}, {"Nats-Msg-Id", encode_token(once)}},
          .body = body};
}

Result<std::vector<Stored>> EventStreams::store(std::span<const NatsRequest> requests) {
  std::vector<Stored> all;
  while (all.size() < requests.size()) {
    std::size_t count = 0;
    for (std::size_t bytes = 0; all.size() + count < requests.size() && count < kBatchMax; ++count) {
      bytes += requests[all.size() + count].body.size();
      if (count > 0 && bytes > kBatchBytesMax) break;
    }
    auto answers = connection_.exchange(requests.subspan(all.size(), count));
    if (!answers.ok()) {
      if (all.empty()) return std::move(answers).error();
      all.resize(requests.size(), failed(answers.error().message));
      return all;
    }
    for (const NatsMessage& answer : *answers) all.push_back(stored_of(answer));
  }
  return all;
}

Status EventStreams::erase(std::span<const std::uint64_t> sequences) {
  std::vector<std::string> bodies;
  std::vector<NatsRequest> requests;
  bodies.reserve(sequences.size());
  for (const std::uint64_t sequence : sequences) {
    bodies.push_back(R"({"seq":)" + std::to_string(sequence) + "}");
    requests.push_back({.subject = "$JS.API.STREAM.MSG.DELETE." + stream_, .body = bodies.back()});
  }
  for (std::size_t at = 0; at < requests.size(); at += kBatchMax) {
    const std::span<const NatsRequest> some(requests.data() + at, std::min(kBatchMax, requests.size() - at));
    ASSIGN_OR_RETURN(const std::vector<NatsMessage> answers, connection_.exchange(some));
    for (const NatsMessage& answer : answers) {
      if (answer == nullptr) return connection_.unavailable("it gave no answer in time");
      if (natsMsg_IsNoResponders(answer.get())) return connection_.unavailable("JetStream is not available now");
      boost::system::error_code error;
      const json::value parsed = json::parse(body_of(answer.get()), error);
      if (error) return connection_.unavailable("an answer cannot be read");
      const auto refused = api_error(parsed);
      if (refused && refused->code != kSequenceNotFound && refused->code != kDeleteFailed)
        return connection_.unavailable(refused->description);
    }
  }
  return {};
}

void EventStreams::erase_later(std::uint64_t sequence) {
  (void)connection_.tell("$JS.API.STREAM.MSG.DELETE." + stream_, R"({"seq":)" + std::to_string(sequence) + "}").ok();
}

Result<std::vector<NatsMessage>> EventStreams::get(std::span<const std::uint64_t> sequences) {
  return get_from(stream_, sequences);
}

Result<std::vector<NatsMessage>> EventStreams::get_dead(std::span<const std::uint64_t> sequences) {
  return get_from(dead_stream_, sequences);
}

Result<std::vector<NatsMessage>> EventStreams::get_from(const std::string& stream,
                                                        std::span<const std::uint64_t> sequences) {
  std::vector<std::string> bodies;
  std::vector<NatsRequest> requests;
  bodies.reserve(sequences.size());
  for (const std::uint64_t sequence : sequences) {
    bodies.push_back(R"({"seq":)" + std::to_string(sequence) + "}");
    requests.push_back({.subject = "$JS.API.DIRECT.GET." + stream, .body = bodies.back()});
  }
  ASSIGN_OR_RETURN(std::vector<NatsMessage> answers, connection_.exchange(requests));
  for (NatsMessage& answer : answers) {
    if (answer == nullptr) return connection_.unavailable("it gave no answer in time");
    if (natsMsg_IsNoResponders(answer.get())) return connection_.unavailable("JetStream is not available now");
    const std::string status = field_of(answer.get(), "Status");
    if (status == "404") {
      answer.reset();
    } else if (!status.empty()) {
      return connection_.unavailable("it answered " + status + " " + field_of(answer.get(), "Description"));
    }
  }
  return answers;
}

Result<EventStreams::Counts> EventStreams::counts() { return counts_of(stream_); }

Result<EventStreams::Counts> EventStreams::dead_counts() { return counts_of(dead_stream_); }

Result<EventStreams::Counts> EventStreams::counts_of(const std::string& stream) {
  if (!connection_.connected()) return connection_.unavailable("it is away");
  jsStreamInfo* raw = nullptr;
  const natsStatus status = js_GetStreamInfo(&raw, context_.get(), stream.c_str(), nullptr, nullptr);
  const NatsOwned<jsStreamInfo> info(raw);
  if (status != NATS_OK) return connection_.unavailable("the stream " + stream + ": " + natsStatus_GetText(status));
  return Counts{.messages = info->State.Msgs, .first = info->State.FirstSeq, .last = info->State.LastSeq};
}

Result<NatsOwned<natsSubscription>> EventStreams::read() {
  if (!connection_.connected()) return connection_.unavailable("it is away");
  jsSubOptions options;
  jsSubOptions_Init(&options);
  options.Stream = stream_.c_str();
  options.Ordered = true;
  options.Config.DeliverPolicy = js_DeliverAll;
  options.Config.HeadersOnly = true;
  natsSubscription* raw = nullptr;
  const natsStatus status = js_SubscribeSync(&raw, context_.get(), read_subject().c_str(), nullptr, &options, nullptr);
  NatsOwned<natsSubscription> reader(raw);
  if (status != NATS_OK) return connection_.unavailable("the stream " + stream_ + ": " + natsStatus_GetText(status));
  return reader;
}

}  // namespace thaw::adapters
