// One connection to a Redis server, on hiredis, with pipelines and deadlines.
#pragma once

#include <hiredis/hiredis.h>

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/redis/redis_address.h"
#include "base/result.h"

namespace thaw::adapters {

struct RedisReplyFree {
  void operator()(redisReply* reply) const { ::freeReplyObject(reply); }
};
using RedisReply = std::unique_ptr<redisReply, RedisReplyFree>;
using RedisCommand = std::vector<std::string_view>;

// Threads: one at a time. The process must ignore SIGPIPE.
// Errors, of all: unavailable, with the server's name and never its password.
class RedisConnection {
 public:
  struct Timeouts {
    // With the greeting (AUTH, SELECT, PING), without the name's resolution, which hiredis waits for.
    std::chrono::milliseconds connect{1000};
    std::chrono::milliseconds command{2000};  // of one pipeline
  };
  // scripts: loaded by the greeting, so that EVALSHA finds them.
  static Result<std::unique_ptr<RedisConnection>> open(const RedisAddress& address, Timeouts timeouts,
                                                       std::span<const std::string_view> scripts);

  // One round trip. As many replies as commands; one that is the server's refusal is a reply of REDIS_REPLY_ERROR.
  Result<std::vector<RedisReply>> run(std::span<const RedisCommand> commands);
  // The digest that a script of open() has on this server; empty where it took none.
  std::string_view script(std::size_t at) const { return digests_[at]; }

  bool lost() const { return lost_; }
  bool hung() const { return hung_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Free {
    void operator()(redisContext* context) const { ::redisFree(context); }
  };
  RedisConnection(std::string name, std::chrono::milliseconds command) : name_(std::move(name)), command_(command) {}

  Status connect(const RedisAddress& address, Clock::time_point until);
  Status greet(const RedisAddress& address, std::span<const std::string_view> scripts, Clock::time_point until);
  Status await(short events, Clock::time_point until);
  Result<std::vector<RedisReply>> run_until(std::span<const RedisCommand> commands, Clock::time_point until);
  Error failed(std::string_view why);

  const std::string name_;
  const std::chrono::milliseconds command_;
  std::unique_ptr<redisContext, Free> context_;
  std::vector<std::string> digests_;
  bool lost_ = false;
  bool hung_ = false;
};

// What a refusal of the server means to the caller.
Error redis_refusal(std::string_view name, const redisReply& reply);

}  // namespace thaw::adapters
