#include "adapters/redis/online_store.h"

#include <array>
#include <chrono>

#include "adapters/redis/connection.h"
#include "adapters/redis/redis_row.h"
#include "adapters/redis/server_for_test.h"
#include "ports/online_store_contract_test.h"

namespace thaw::adapters {
namespace {

using ports::OnlineKey;
using ports::OnlineRow;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::unique_ptr<ports::OnlineStore> open_store(const std::string& url,
                                               milliseconds command_timeout = milliseconds(2000)) {
  auto address = parse_redis_address(url);
  if (!address.ok()) {
    ADD_FAILURE() << address.error().message;
    std::abort();
  }
  return open_redis_online_store({.address = *address, .command_timeout = command_timeout});
}

class RedisFixture final : public ports::OnlineStoreFixture {
 public:
  ports::OnlineStore& store() override { return *store_; }
  bool reopen() override {
    server_.stop();
    server_.start();
    store_ = open_store(server_.url());
    return true;
  }

 private:
  RedisForTest server_;
  std::unique_ptr<ports::OnlineStore> store_ = open_store(server_.url());
};

std::unique_ptr<ports::OnlineStoreFixture> make_redis_fixture() {
  if (!RedisForTest::installed()) return nullptr;
  return std::make_unique<RedisFixture>();
}

class RedisOnlineStore : public testing::Test {
 protected:
  void SetUp() override {
    if (!RedisForTest::installed()) GTEST_SKIP() << "redis-server is not installed";
  }
  static Status write(ports::OnlineStore& store, const std::string& key, const std::string& value,
                      std::int64_t event_ms = 1) {
    return store.write("t", std::array{OnlineRow{.key = key, .value = value, .event_ms = event_ms}});
  }
  static std::string read(ports::OnlineStore& store, const std::string& key) {
    const auto rows = store.read(std::array{OnlineKey{"t", key}});
    if (!rows.ok()) return rows.error().message;
    return rows->front() ? rows->front()->value : "-";
  }
  // The server's own answer, past the store.
  static RedisReply ask(const RedisForTest& server, const RedisCommand& command) {
    auto connection = RedisConnection::open(*parse_redis_address(server.url()), {}, {});
    if (!connection.ok()) return nullptr;
    auto replies = (*connection)->run(std::span(&command, 1));
    return replies.ok() ? std::move(replies->front()) : nullptr;
  }
  // Until the breaker lets somebody try.
  static void await(ports::OnlineStore& store, const std::string& key, const std::string& value) {
    const auto until = Clock::now() + std::chrono::seconds(60);
    while (read(store, key) != value && Clock::now() < until) std::this_thread::sleep_for(milliseconds(5));
    EXPECT_EQ(read(store, key), value);
  }
};

TEST_F(RedisOnlineStore, AServerThatGoesAndComesBackIsFoundAgainWithEverythingAcknowledged) {
  RedisForTest server;
  const auto store = open_store(server.url());
  ASSERT_TRUE(write(*store, "k", "v").ok());
  server.stop();
  const auto rows = store->read(std::array{OnlineKey{"t", "k"}});
  ASSERT_FALSE(rows.ok());
  EXPECT_EQ(rows.error().kind, ErrorKind::unavailable);
  EXPECT_TRUE(rows.error().message.starts_with(store->name() + ": ")) << rows.error().message;
  EXPECT_EQ(write(*store, "k", "v2", 2).error().kind, ErrorKind::unavailable);
  server.start();
  await(*store, "k", "v");
}

TEST_F(RedisOnlineStore, ARestartBetweenTwoCallsIsNotSeen) {
  RedisForTest server;
  const auto store = open_store(server.url());
  ASSERT_TRUE(write(*store, "k", "v").ok());
  server.stop();
  server.start();
  EXPECT_EQ(read(*store, "k"), "v");
  server.stop();
  server.start();
  EXPECT_TRUE(write(*store, "k", "v2", 2).ok());
}

TEST_F(RedisOnlineStore, ADeadServerCostsLittle) {
  const auto store = open_store("redis://127.0.0.1:1/0");
  EXPECT_NE(read(*store, "k"), "-");
  const auto from = Clock::now();
  for (int i = 0; i < 10000; ++i) ASSERT_NE(read(*store, "k"), "-");
  EXPECT_LT(Clock::now() - from, std::chrono::seconds(5));
}

TEST_F(RedisOnlineStore, ASilentServerCostsOneTimeoutAndThenLittle) {
  RedisForTest server;
  const auto store = open_store(server.url(), milliseconds(200));
  ASSERT_TRUE(write(*store, "k", "v").ok());
  server.freeze();
  EXPECT_EQ(read(*store, "k"), store->name() + ": no answer in time");
  EXPECT_EQ(read(*store, "k"), store->name() + ": no answer in time");
  server.thaw();
  await(*store, "k", "v");
}

TEST_F(RedisOnlineStore, PasswordsOpenAndAreNeverTold) {
  RedisForTest server({"--requirepass", "p@ss"});
  EXPECT_TRUE(write(*open_store("redis+unix://:p%40ss@" + server.socket() + "?db=3"), "k", "v").ok());
  EXPECT_EQ(read(*open_store("redis+unix://default:p%40ss@" + server.socket() + "?db=3"), "k"), "v");
  EXPECT_EQ(read(*open_store("redis+unix://:p%40ss@" + server.socket()), "k"), "-") << "another database";
  const auto wrong = open_store("redis+unix://:wrong-secret@" + server.socket());
  const Status refused = write(*wrong, "k", "v");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("WRONGPASS"));
  EXPECT_THAT(refused.error().message, testing::Not(testing::HasSubstr("secret")));
  EXPECT_THAT(read(*open_store(server.url()), "k"), testing::HasSubstr("NOAUTH"));
}

TEST_F(RedisOnlineStore, ScriptsThatTheServerForgotAreSentAgain) {
  RedisForTest server;
  const auto store = open_store(server.url());
  ASSERT_TRUE(write(*store, "k", "v").ok());
  ASSERT_NE(ask(server, {"SCRIPT", "FLUSH"}), nullptr);
  EXPECT_TRUE(write(*store, "k", "v2", 2).ok());
  EXPECT_EQ(read(*store, "k"), "v2");
}

TEST_F(RedisOnlineStore, RowsExpireInTheServerAndLeaveNoKeyBehindAScan) {
  RedisForTest server;
  const auto store = open_store(server.url());
  const auto now = std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  const OnlineRow one{.key = "k", .value = "v", .event_ms = 1, .expires_ms = now.count() + 300};
  ASSERT_TRUE(store->write("t", std::array{one}).ok());
  const auto until = Clock::now() + std::chrono::seconds(60);
  while (ask(server, {"DBSIZE"})->integer != 1 && Clock::now() < until) std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(ask(server, {"DBSIZE"})->integer, 1) << "the set alone";
  EXPECT_TRUE(store->scan("t", "", 10)->empty());
  EXPECT_EQ(ask(server, {"DBSIZE"})->integer, 0);
}

TEST_F(RedisOnlineStore, OneReadIsOneCommand) {
  RedisForTest server;
  const auto store = open_store(server.url());
  ASSERT_TRUE(write(*store, "a", "1").ok());
  ASSERT_NE(ask(server, {"CONFIG", "RESETSTAT"}), nullptr);
  std::vector<std::string> names;
  for (int i = 0; i < 100; ++i) names.push_back("k" + std::to_string(i));
  std::vector<OnlineKey> keys;
  for (const std::string& name : names) keys.push_back({"t", name});
  ASSERT_TRUE(store->read(keys).ok());
  const RedisReply stats = ask(server, {"INFO", "commandstats"});
  ASSERT_NE(stats, nullptr);
  const std::string text(stats->str, stats->len);
  EXPECT_THAT(text, testing::HasSubstr("cmdstat_mget:calls=1,"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("cmdstat_get:")));
}

TEST_F(RedisOnlineStore, ManyThreadsShareFewConnections) {
  RedisForTest server;
  const auto store = open_redis_online_store({.address = *parse_redis_address(server.url()), .connections_max = 2});
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        const std::string key = std::to_string(t);
        if (!write(*store, key, std::to_string(i), i).ok() || read(*store, key) != std::to_string(i)) ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  const RedisReply clients = ask(server, {"INFO", "stats"});
  EXPECT_THAT(std::string(clients->str, clients->len),
              testing::ContainsRegex("total_connections_received:[1-4]\r"));  // with the test's own two
}

TEST_F(RedisOnlineStore, ARowThatThawDidNotWriteIsCorrupt) {
  RedisForTest server;
  const auto store = open_store(server.url());
  ASSERT_NE(ask(server, {"SET", "thaw:online:row:1:t:k", "something else"}), nullptr);
  const auto rows = store->read(std::array{OnlineKey{"t", "k"}});
  ASSERT_FALSE(rows.ok());
  EXPECT_EQ(rows.error().kind, ErrorKind::corrupt);
}

TEST(RedisAddress, IsReadAndNamedWithoutSecrets) {
  const auto plain = parse_redis_address("redis://example.com");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->name(), "redis://example.com:6379/0");
  const auto full = parse_redis_address("redis://user:p%40ss@[::1]:7000/15");
  ASSERT_TRUE(full.ok());
  EXPECT_EQ(full->host, "::1");
  EXPECT_EQ(full->port, 7000);
  EXPECT_EQ(full->user, "user");
  EXPECT_EQ(full->password, "p@ss");
  EXPECT_EQ(full->database, 15U);
  EXPECT_EQ(full->name(), "redis://[::1]:7000/15");
  const auto socket = parse_redis_address("redis+unix://:secret@/run/redis.sock?db=2");
  ASSERT_TRUE(socket.ok());
  EXPECT_EQ(socket->socket, "/run/redis.sock");
  EXPECT_EQ(socket->password, "secret");
  EXPECT_EQ(socket->name(), "redis+unix:///run/redis.sock?db=2");
}

TEST(RedisAddress, WhatIsWrongIsRefusedWithoutSecrets) {
  for (const char* url :
       {"", "redis", "redis://", "redis://:secret@", "redis://h:secret", "redis://h:0", "redis://h/x",
        "redis://h/99999999", "redis://h?db=1", "redis://h#1", "redis+unix://host/path", "redis+unix:///",
        "redis+unix:///p?x=1", "http://h", "redis://user@h", "rediss://u:secret@h"}) {
    const auto address = parse_redis_address(url);
    ASSERT_FALSE(address.ok()) << url;
    EXPECT_THAT(address.error().message, testing::Not(testing::HasSubstr("secret"))) << url;
  }
}

TEST(RedisRow, ComesBackAsItWentIn) {
  const OnlineRow row{
      .key = "k", .value = std::string("\0v", 2), .event_ms = -5, .created_ms = 1LL << 60, .expires_ms = 7};
  const auto again = decode_redis_row("k", encode_redis_row(row));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->value, row.value);
  EXPECT_EQ(again->event_ms, -5);
  EXPECT_EQ(again->created_ms, 1LL << 60);
  EXPECT_EQ(again->expires_ms, 7);
}

}  // namespace
}  // namespace thaw::adapters

namespace thaw::ports {
INSTANTIATE_TEST_SUITE_P(Redis, OnlineStoreContract, testing::Values(&adapters::make_redis_fixture));
}  // namespace thaw::ports
