#include "adapters/redis/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace thaw::adapters {

namespace {

std::string_view text_of(const redisReply& reply) { return {reply.str, reply.str == nullptr ? 0 : reply.len}; }

}  // namespace

Error redis_refusal(std::string_view name, const redisReply& reply) {
  const std::string_view text = text_of(reply);
  const std::string_view code = text.substr(0, text.find(' '));
  ErrorKind kind = ErrorKind::internal;
  // The server cannot now, or not for this user: it is the server's side that has to change.
  for (const char* known : {"LOADING", "READONLY", "MASTERDOWN", "OOM", "BUSY", "MISCONF", "CLUSTERDOWN", "TRYAGAIN",
                            "NOREPLICAS", "NOAUTH", "WRONGPASS", "NOPERM", "DENIED", "MOVED", "ASK"})
    if (code == known) kind = ErrorKind::unavailable;
  if (code == "WRONGTYPE") kind = ErrorKind::corrupt;
  return {kind, std::string(name) + ": " + std::string(text.substr(0, 500))};
}

Error RedisConnection::failed(std::string_view why) {
  lost_ = true;
  return {ErrorKind::unavailable, name_ + ": " + std::string(why)};
}

Result<std::unique_ptr<RedisConnection>> RedisConnection::open(const RedisAddress& address, Timeouts timeouts,
                                                               std::span<const std::string_view> scripts) {
  std::unique_ptr<RedisConnection> made(new RedisConnection(address.name(), timeouts.command));
  const auto until = Clock::now() + timeouts.connect;
  RETURN_IF_ERROR(made->connect(address, until));
  RETURN_IF_ERROR(made->greet(address, scripts, until));
  return made;
}

Status RedisConnection::connect(const RedisAddress& address, Clock::time_point until) {
  context_.reset(address.socket.empty() ? ::redisConnectNonBlock(address.host.c_str(), address.port)
                                        : ::redisConnectUnixNonBlock(address.socket.c_str()));
  if (!context_) return failed("out of memory");
  if (context_->err != 0) return failed(context_->errstr);
  RETURN_IF_ERROR(await(POLLOUT, until));
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(context_->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) return failed(std::strerror(error));
  return {};
}

Status RedisConnection::greet(const RedisAddress& address, std::span<const std::string_view> scripts,
                              Clock::time_point until) {
  const std::string database = std::to_string(address.database);
  std::vector<RedisCommand> commands;
  if (!address.user.empty())
    commands.push_back({"AUTH", address.user, address.password});
  else if (!address.password.empty())
    commands.push_back({"AUTH", address.password});
  if (address.database != 0) commands.push_back({"SELECT", database});
  commands.push_back({"PING"});
  const std::size_t first_script = commands.size();
  for (const std::string_view script : scripts) commands.push_back({"SCRIPT", "LOAD", script});
  ASSIGN_OR_RETURN(const std::vector<RedisReply> replies, run_until(commands, until));
  for (std::size_t i = 0; i < first_script; ++i)
    if (replies[i]->type == REDIS_REPLY_ERROR) return failed(text_of(*replies[i]).substr(0, 500));
  // A user who may not load scripts sends them whole.
  for (std::size_t i = first_script; i < replies.size(); ++i)
    digests_.emplace_back(replies[i]->type == REDIS_REPLY_STRING ? text_of(*replies[i]) : std::string_view());
  return {};
}

Status RedisConnection::await(short events, Clock::time_point until) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd wanted{.fd = context_->fd, .events = events, .revents = 0};
    const int ready = left <= 0 ? 0 : ::poll(&wanted, 1, static_cast<int>(left));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return failed(std::strerror(errno));
    if (ready == 0) {
      hung_ = true;
      return failed("no answer in time");
    }
  }
}

Result<std::vector<RedisReply>> RedisConnection::run(std::span<const RedisCommand> commands) {
  return run_until(commands, Clock::now() + command_);
}

Result<std::vector<RedisReply>> RedisConnection::run_until(std::span<const RedisCommand> commands,
                                                           Clock::time_point until) {
  std::vector<const char*> words;
  std::vector<std::size_t> sizes;
  for (const RedisCommand& command : commands) {
    words.clear();
    sizes.clear();
    for (const std::string_view word : command) {
      words.push_back(word.data() == nullptr ? "" : word.data());
      sizes.push_back(word.size());
    }
    if (::redisAppendCommandArgv(context_.get(), static_cast<int>(words.size()), words.data(), sizes.data()) !=
        REDIS_OK)
      return failed(context_->errstr);
  }
  for (int all = 0; all == 0;) {
    if (::redisBufferWrite(context_.get(), &all) != REDIS_OK) return failed(context_->errstr);
    if (all == 0) RETURN_IF_ERROR(await(POLLOUT, until));
  }
  std::vector<RedisReply> replies;
  while (replies.size() < commands.size()) {
    void* reply = nullptr;
    if (::redisGetReplyFromReader(context_.get(), &reply) != REDIS_OK) return failed(context_->errstr);
    if (reply != nullptr) {
      replies.emplace_back(static_cast<redisReply*>(reply));
      continue;
    }
    RETURN_IF_ERROR(await(POLLIN, until));
    if (::redisBufferRead(context_.get()) != REDIS_OK) return failed(context_->errstr);
  }
  return replies;
}

}  // namespace thaw::adapters
