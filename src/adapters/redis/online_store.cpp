#include "adapters/redis/online_store.h"

#include <algorithm>
#include <array>
#include <deque>
#include <utility>

#include "adapters/online/bounds.h"
#include "adapters/online/connection_pool.h"
#include "adapters/redis/connection.h"
#include "adapters/redis/redis_row.h"

namespace thaw::adapters {

using ports::OnlineKey;
using ports::OnlineRow;

namespace {

// Of one script's run, during which the server does nothing else.
constexpr std::size_t kRowsPerScriptMax = 500;
// Of one pipeline: what is sent before its answers are read.
constexpr std::size_t kPipelineBytesMax = 16 << 20;
constexpr std::size_t kKeysPerPageMax = 1000;

enum Script : std::size_t { write_script, remove_script, prune_script };

// KEYS: the set, then the rows; ARGV: for each row its key, its bytes, its expiry. Lua's numbers are exact to 2^53
// alone, so the times of redis_row.h are compared by halves.
constexpr std::string_view kWriteScript = R"(
local function older(a, b)
  for at = 2, 10, 8 do
    local a_high, a_low = struct.unpack('>i4I4', a, at)
    local b_high, b_low = struct.unpack('>i4I4', b, at)
    if a_high ~= b_high then return a_high < b_high end
    if a_low ~= b_low then return a_low < b_low end
  end
  return false
end
for i = 2, #KEYS do
  local at = (i - 2) * 3
  local row = ARGV[at + 2]
  local there = redis.call('GETRANGE', KEYS[i], 0, 16)
  if #there < 17 or not older(row, there) then
    redis.call('SET', KEYS[i], row)
    if ARGV[at + 3] ~= '0' then redis.call('PEXPIREAT', KEYS[i], ARGV[at + 3]) end
    redis.call('ZADD', KEYS[1], 0, ARGV[at + 1])
  end
end
return 0)";

// KEYS: the set, then the rows; ARGV: the rows' keys.
constexpr std::string_view kRemoveScript = R"(
for i = 2, #KEYS do
  redis.call('DEL', KEYS[i])
  redis.call('ZREM', KEYS[1], ARGV[i - 1])
end
return 0)";

// Likewise; takes those keys out of the set that have no row, which may have come back meanwhile.
constexpr std::string_view kPruneScript = R"(
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then redis.call('ZREM', KEYS[1], ARGV[i - 1]) end
end
return 0)";

constexpr std::array kScripts = {kWriteScript, kRemoveScript, kPruneScript};

// A script's words, whose bytes it owns.
class ScriptCall {
 public:
  ScriptCall(Script script, const std::string& set) : script_(script) { keys_.push_back(set); }

  void add(std::string row_key, std::initializer_list<std::string> arguments) {
    keys_.push_back(std::move(row_key));
    arguments_.insert(arguments_.end(), arguments);
  }
  std::size_t rows() const { return keys_.size() - 1; }
  Script script() const { return script_; }

  // Its words' bytes are this call's.
  RedisCommand command(std::string_view digest) {
    count_ = std::to_string(keys_.size());
    RedisCommand words;
    words.reserve(3 + keys_.size() + arguments_.size());
    words.insert(words.end(),
                 {digest.empty() ? "EVAL" : "EVALSHA", digest.empty() ? kScripts[script_] : digest, count_});
    words.insert(words.end(), keys_.begin(), keys_.end());
    words.insert(words.end(), arguments_.begin(), arguments_.end());
    return words;
  }

 private:
  Script script_;
  std::string count_;
  std::deque<std::string> keys_;
  std::deque<std::string> arguments_;
};

class RedisOnlineStore final : public ports::OnlineStore {
 public:
  explicit RedisOnlineStore(RedisStoreSettings settings)
      : settings_(std::move(settings)),
        name_(settings_.address.name()),
        pool_({.name = name_, .connections_max = settings_.connections_max, .wait_max = settings_.command_timeout},
              [this] {
                return RedisConnection::open(
                    settings_.address, {.connect = settings_.connect_timeout, .command = settings_.command_timeout},
                    kScripts);
              }) {}

  Status write(std::string_view table, std::span<const OnlineRow> rows) override;
  Result<std::vector<std::optional<OnlineRow>>> read(std::span<const OnlineKey> keys) override;
  Result<std::vector<OnlineRow>> scan(std::string_view table, std::string_view after, std::size_t count_max) override;
  Status remove(std::string_view table, std::span<const std::string> keys) override;
  Status drop(std::string_view table) override;
  std::string name() const override { return name_; }

 private:
  std::string row_key(std::string_view table, std::string_view key) const {
    return settings_.prefix + "row:" + std::to_string(table.size()) + ":" + std::string(table) + ":" + std::string(key);
  }
  std::string set_key(std::string_view table) const { return settings_.prefix + "keys:" + std::string(table); }

  Result<std::vector<std::string>> keys_behind(std::string_view table, std::string_view after, std::size_t count_max);
  Result<std::vector<RedisReply>> get(const std::vector<std::string>& row_keys);
  Status run(std::deque<ScriptCall>& calls);
  Status run_by_keys(Script script, std::string_view table, std::span<const std::string> keys);

  const RedisStoreSettings settings_;
  const std::string name_;
  ConnectionPool<RedisConnection> pool_;
};

// In their order, in one pipeline.
Status RedisOnlineStore::run(std::deque<ScriptCall>& calls) {
  return pool_.run([&](RedisConnection& connection) -> Status {
    for (const bool whole : {false, true}) {
      std::vector<RedisCommand> commands;
      for (ScriptCall& call : calls)
        commands.push_back(call.command(whole ? std::string_view() : connection.script(call.script())));
      ASSIGN_OR_RETURN(const std::vector<RedisReply> replies, connection.run(commands));
      const redisReply* refusal = nullptr;
      for (const RedisReply& reply : replies)
        if (refusal == nullptr && reply->type == REDIS_REPLY_ERROR) refusal = reply.get();
      if (refusal == nullptr) return {};
      // Somebody made the server forget its scripts. All again, so that later rows stay later.
      if (whole || !std::string_view(refusal->str, refusal->len).starts_with("NOSCRIPT"))
        return redis_refusal(name_, *refusal);
    }
    return {};
  });
}

Status RedisOnlineStore::write(std::string_view table, std::span<const OnlineRow> rows) {
  RETURN_IF_ERROR(check_online_rows(table, rows));
  const std::string set = set_key(table);
  std::deque<ScriptCall> calls;
  std::size_t bytes = 0;
  for (const OnlineRow& row : rows) {
    if (calls.empty() || calls.back().rows() == kRowsPerScriptMax) calls.emplace_back(write_script, set);
    calls.back().add(row_key(table, row.key), {row.key, encode_redis_row(row), std::to_string(row.expires_ms)});
    bytes += row.key.size() + row.value.size();
    if (bytes < kPipelineBytesMax) continue;
    RETURN_IF_ERROR(run(calls));
    calls.clear();
    bytes = 0;
  }
  return calls.empty() ? Status() : run(calls);
}

// A reply for each: a string or nil.
Result<std::vector<RedisReply>> RedisOnlineStore::get(const std::vector<std::string>& row_keys) {
  RedisCommand command{"MGET"};
  command.insert(command.end(), row_keys.begin(), row_keys.end());
  return pool_.run([&](RedisConnection& connection) -> Result<std::vector<RedisReply>> {
    ASSIGN_OR_RETURN(std::vector<RedisReply> replies, connection.run(std::span(&command, 1)));
    if (replies[0]->type == REDIS_REPLY_ERROR) return redis_refusal(name_, *replies[0]);
    if (replies[0]->type != REDIS_REPLY_ARRAY || replies[0]->elements != row_keys.size())
      return internal_error(name_ + ": MGET was answered with something else than its values");
    return replies;
  });
}

Result<std::vector<std::optional<OnlineRow>>> RedisOnlineStore::read(std::span<const OnlineKey> keys) {
  RETURN_IF_ERROR(check_online_keys(keys));
  std::vector<std::optional<OnlineRow>> rows(keys.size());
  if (keys.empty()) return rows;
  std::vector<std::string> row_keys;
  row_keys.reserve(keys.size());
  for (const OnlineKey& key : keys) row_keys.push_back(row_key(key.table, key.key));
  ASSIGN_OR_RETURN(const std::vector<RedisReply> replies, get(row_keys));
  const std::int64_t now_ms = online_now_ms();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const redisReply& reply = *replies[0]->element[i];
    if (reply.type != REDIS_REPLY_STRING) continue;
    ASSIGN_OR_RETURN(OnlineRow row, decode_redis_row(keys[i].key, {reply.str, reply.len}));
    if (!online_expired(row, now_ms)) rows[i] = std::move(row);
  }
  return rows;
}

Result<std::vector<std::string>> RedisOnlineStore::keys_behind(std::string_view table, std::string_view after,
                                                               std::size_t count_max) {
  const std::string set = set_key(table);
  const std::string from = after.empty() ? "-" : "(" + std::string(after);
  const std::string count = std::to_string(count_max);
  const RedisCommand command{"ZRANGEBYLEX", set, from, "+", "LIMIT", "0", count};
  return pool_.run([&](RedisConnection& connection) -> Result<std::vector<std::string>> {
    ASSIGN_OR_RETURN(const std::vector<RedisReply> replies, connection.run(std::span(&command, 1)));
    if (replies[0]->type == REDIS_REPLY_ERROR) return redis_refusal(name_, *replies[0]);
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < replies[0]->elements; ++i)
      keys.emplace_back(replies[0]->element[i]->str, replies[0]->element[i]->len);
    return keys;
  });
}

Result<std::vector<OnlineRow>> RedisOnlineStore::scan(std::string_view table, std::string_view after,
                                                      std::size_t count_max) {
  RETURN_IF_ERROR(check_online_table(table));
  std::vector<OnlineRow> rows;
  std::string last(after);
  while (rows.size() < count_max) {
    const std::size_t page = std::min(count_max - rows.size(), kKeysPerPageMax);
    ASSIGN_OR_RETURN(const std::vector<std::string> keys, keys_behind(table, last, page));
    if (keys.empty()) break;
    last = keys.back();
    std::vector<OnlineKey> wanted;
    for (const std::string& key : keys) wanted.push_back({table, key});
    ASSIGN_OR_RETURN(auto found, read(wanted));
    std::vector<std::string> gone;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (found[i])
        rows.push_back(*std::move(found[i]));
      else
        gone.push_back(keys[i]);
    }
    if (!gone.empty()) RETURN_IF_ERROR(run_by_keys(prune_script, table, gone));
    if (keys.size() < page) break;
  }
  return rows;
}

Status RedisOnlineStore::run_by_keys(Script script, std::string_view table, std::span<const std::string> keys) {
  const std::string set = set_key(table);
  std::deque<ScriptCall> calls;
  for (const std::string& key : keys) {
    if (calls.empty() || calls.back().rows() == kRowsPerScriptMax) calls.emplace_back(script, set);
    calls.back().add(row_key(table, key), {key});
  }
  return calls.empty() ? Status() : run(calls);
}

Status RedisOnlineStore::remove(std::string_view table, std::span<const std::string> keys) {
  RETURN_IF_ERROR(check_online_removal(table, keys));
  return run_by_keys(remove_script, table, keys);
}

Status RedisOnlineStore::drop(std::string_view table) {
  RETURN_IF_ERROR(check_online_table(table));
  for (std::string last;;) {
    ASSIGN_OR_RETURN(const std::vector<std::string> keys, keys_behind(table, last, kKeysPerPageMax));
    if (keys.empty()) return {};
    RETURN_IF_ERROR(run_by_keys(remove_script, table, keys));
    last = keys.back();
  }
}

}  // namespace

std::unique_ptr<ports::OnlineStore> open_redis_online_store(RedisStoreSettings settings) {
  return std::make_unique<RedisOnlineStore>(std::move(settings));
}

}  // namespace thaw::adapters
