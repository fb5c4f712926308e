// One connection to a NATS server that comes back by itself, and batches of requests over it.
//
// Requests of a batch are all under way at once: their answers come to an inbox of this connection's own. None is kept
// for later: what is asked while the server is away fails.
#pragma once

#include <nats/nats.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace thaw::adapters {

struct NatsFree {
  void operator()(natsMsg* message) const { natsMsg_Destroy(message); }
  void operator()(natsOptions* options) const { natsOptions_Destroy(options); }
  void operator()(natsConnection* connection) const { natsConnection_Destroy(connection); }
  void operator()(natsSubscription* subscription) const { natsSubscription_Destroy(subscription); }
  void operator()(jsCtx* context) const { jsCtx_Destroy(context); }
  void operator()(jsStreamInfo* info) const { jsStreamInfo_Destroy(info); }
  void operator()(jsConsumerInfo* info) const { jsConsumerInfo_Destroy(info); }
  void operator()(jsMsgMetaData* data) const { jsMsgMetaData_Destroy(data); }
};
template <class T>
using NatsOwned = std::unique_ptr<T, NatsFree>;
using NatsMessage = NatsOwned<natsMsg>;

std::string_view body_of(const natsMsg* message);
// Empty when it has no such field.
std::string field_of(natsMsg* message, const char* name);

struct NatsRequest {
  std::string subject;
  std::vector<std::pair<std::string, std::string>> fields = {};
  std::string_view body = {};  // borrowed
};

struct NatsConnectionOptions {
  std::string urls;              // as check_nats_urls() has it
  std::string credentials_file;  // of a user with a JWT; empty: none
};

// Threads: any. Errors, of all: unavailable (the server is away, or gave no answer in time); forbidden when it refuses
// the user.
class NatsConnection {
 public:
  // Bounds of one connecting, and of the wait for answers.
  static constexpr std::chrono::milliseconds kConnectMax{5000};
  static constexpr std::chrono::milliseconds kAnswerMax{10000};

  static Result<std::unique_ptr<NatsConnection>> open(const NatsConnectionOptions& options);
  ~NatsConnection();
  NatsConnection(const NatsConnection&) = delete;
  NatsConnection& operator=(const NatsConnection&) = delete;

  // An answer for each request, at its place; an empty one where none came. Errors: when nothing could be sent at all.
  Result<std::vector<NatsMessage>> exchange(std::span<const NatsRequest> requests);
  // To whoever listens now; nobody answers.
  Status tell(const std::string& subject, std::string_view text);
  // heard runs on a thread of the connection's until hush(), which waits for it. Once.
  Status listen(const std::string& subject, std::function<void(natsMsg*)> heard);
  void hush();

  bool connected() const;
  // Counts the connections that were made: it changes when the server was away.
  std::uint64_t generation() const;
  std::size_t payload_bytes_max() const;
  natsConnection* get() const;
  Error unavailable(std::string_view what) const;

 private:
  struct State;
  explicit NatsConnection(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace thaw::adapters
