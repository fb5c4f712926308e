#include "adapters/postgres/online_store.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <chrono>

#include "adapters/postgres/connection.h"
#include "adapters/postgres/server_for_test.h"
#include "base/unique_fd.h"
#include "ports/online_store_contract_test.h"

namespace thaw::adapters {
namespace {

using ports::OnlineKey;
using ports::OnlineRow;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::unique_ptr<ports::OnlineStore> open_store(const std::string& url,
                                               milliseconds command_timeout = milliseconds(2000)) {
  auto opened = open_postgres_online_store({.url = url, .command_timeout = command_timeout});
  if (!opened.ok()) {
    ADD_FAILURE() << opened.error().message;
    std::abort();
  }
  return *std::move(opened);
}

// The server's own answer, past the store; empty when it refuses.
std::string ask(const PostgresForTest& server, const std::string& sql) {
  auto connection = PostgresConnection::open(server.url(), "test", {.command = std::chrono::seconds(60)});
  if (!connection.ok()) return {};
  const auto answer = (*connection)->execute(sql);
  if (!answer.ok() || ::PQntuples(answer->get()) == 0) return {};
  return std::string(postgres_bytes_at(**answer, 0, 0));
}

// On the tests' shared server, with an empty table.
class PostgresFixture final : public ports::OnlineStoreFixture {
 public:
  explicit PostgresFixture(const PostgresForTest& server) : server_(server) {
    ask(server, "DROP TABLE IF EXISTS thaw_features_online");
    store_ = open_store(server.url());
  }
  ports::OnlineStore& store() override { return *store_; }
  bool reopen() override {
    store_ = open_store(server_.url());
    return true;
  }

 private:
  const PostgresForTest& server_;
  std::unique_ptr<ports::OnlineStore> store_;
};

std::unique_ptr<ports::OnlineStoreFixture> make_postgres_fixture() {
  const PostgresForTest* server = PostgresForTest::shared();
  return server == nullptr ? nullptr : std::make_unique<PostgresFixture>(*server);
}

class PostgresOnlineStore : public testing::Test {
 protected:
  void SetUp() override {
    server = PostgresForTest::shared();
    if (server == nullptr) GTEST_SKIP() << "PostgreSQL's server is not installed";
    ask(*server, "DROP TABLE IF EXISTS thaw_features_online");
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
  // Until the breaker lets somebody try.
  static void await(ports::OnlineStore& store, const std::string& key, const std::string& value) {
    const auto until = Clock::now() + std::chrono::seconds(60);
    while (read(store, key) != value && Clock::now() < until) std::this_thread::sleep_for(milliseconds(5));
    EXPECT_EQ(read(store, key), value);
  }

  PostgresForTest* server = nullptr;
};

TEST_F(PostgresOnlineStore, AServerThatGoesAndComesBackIsFoundAgainWithEverythingAcknowledged) {
  PostgresForTest own;
  ASSERT_TRUE(own.running());
  const auto store = open_store(own.url());
  ASSERT_TRUE(write(*store, "k", "v").ok());
  own.stop();
  const auto rows = store->read(std::array{OnlineKey{"t", "k"}});
  ASSERT_FALSE(rows.ok());
  EXPECT_EQ(rows.error().kind, ErrorKind::unavailable) << rows.error().message;
  EXPECT_TRUE(rows.error().message.starts_with(store->name() + ": ")) << rows.error().message;
  EXPECT_EQ(write(*store, "k", "v2", 2).error().kind, ErrorKind::unavailable);
  const auto from = Clock::now();
  for (int i = 0; i < 1000; ++i) ASSERT_NE(read(*store, "k"), "v");
  EXPECT_LT(Clock::now() - from, std::chrono::seconds(5));
  own.start();
  await(*store, "k", "v");
  // Connections that a restart closed while they lay idle are not seen.
  own.stop();
  own.start();
  EXPECT_EQ(read(*store, "k"), "v");
  own.stop();
  own.start();
  EXPECT_TRUE(write(*store, "k", "v3", 3).ok());
}

TEST_F(PostgresOnlineStore, AStatementThatTakesTooLongIsEndedByTheServerAndTheConnectionStays) {
  const auto store = open_store(server->url(), milliseconds(200));
  ASSERT_TRUE(write(*store, "k", "v").ok());
  auto holder = PostgresConnection::open(server->url(), "holder", {});
  ASSERT_TRUE(holder.ok());
  ASSERT_TRUE((*holder)->execute("BEGIN; LOCK TABLE thaw_features_online").ok());
  const auto rows = store->read(std::array{OnlineKey{"t", "k"}});
  ASSERT_FALSE(rows.ok());
  EXPECT_EQ(rows.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(rows.error().message, testing::HasSubstr("statement timeout"));
  ASSERT_TRUE((*holder)->execute("COMMIT").ok());
  EXPECT_EQ(read(*store, "k"), "v");
}

TEST_F(PostgresOnlineStore, AServerThatSaysNothingCostsOneTimeoutAndThenLittle) {
  const UniqueFd silent(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(silent.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(silent.get(), 16), 0);
  ASSERT_EQ(::getsockname(silent.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  auto opened = open_postgres_online_store(
      {.url = "postgresql://thaw:secret@127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/db",
       .connect_timeout = milliseconds(100)});
  ASSERT_TRUE(opened.ok());
  const std::string expected = (*opened)->name() + ": no answer in time";
  const auto from = Clock::now();
  for (int i = 0; i < 50; ++i) EXPECT_EQ(read(**opened, "k"), expected);
  EXPECT_LT(Clock::now() - from, std::chrono::seconds(3));
}

TEST_F(PostgresOnlineStore, ATableThatIsTakenAwayIsMadeAgain) {
  const auto store = open_store(server->url());
  ASSERT_TRUE(write(*store, "k", "v").ok());
  ask(*server, "DROP TABLE thaw_features_online");
  EXPECT_EQ(read(*store, "k"), "-");
  ask(*server, "DROP TABLE thaw_features_online");
  EXPECT_TRUE(write(*store, "k", "v").ok());
}

TEST_F(PostgresOnlineStore, ManyStoresMakeTheTableTogether) {
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&, t] {
      const auto store = open_store(server->url(), std::chrono::seconds(20));
      for (int i = 0; i < 30; ++i)
        if (!write(*store, "k", std::to_string(i), 10 * i + t).ok()) ++wrong;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(read(*open_store(server->url()), "k"), "29");
}

TEST_F(PostgresOnlineStore, BatchesOfTheSameRowsByManyThreadsDoNotLockEachOtherOut) {
  const auto store = open_store(server->url(), std::chrono::seconds(20));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int n = 0; n < 10; ++n) {
        std::vector<OnlineRow> rows;
        for (int i = 0; i < 200; ++i) rows.push_back({.key = std::to_string(i), .value = "v", .event_ms = n});
        if (t % 2 == 0) std::reverse(rows.begin(), rows.end());
        const Status done = store->write("t", rows);
        if (!done.ok()) ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(PostgresOnlineStore, RowsThatExpiredGoWhileOthersAreWritten) {
  auto store = open_store(server->url());
  const auto now = std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  std::vector<OnlineRow> rows = {{.key = "gone", .value = "v", .expires_ms = now.count() - 1},
                                 {.key = "stays", .value = "v", .expires_ms = now.count() + 3'600'000},
                                 {.key = "ever", .value = "v"}};
  ASSERT_TRUE(store->write("t", rows).ok());
  store = open_store(server->url());  // sweeps at its first write, and not again for a while
  ASSERT_TRUE(write(*store, "other", "v").ok());
  EXPECT_EQ(ask(*server, "SELECT string_agg(convert_from(key, 'UTF8'), ' ' ORDER BY key) FROM thaw_features_online"),
            "ever other stays");
}

TEST_F(PostgresOnlineStore, AUserWithoutTheRightIsToldSo) {
  ask(*server, "REVOKE CREATE ON SCHEMA public FROM PUBLIC; DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN");
  const auto store = open_store(server->url() + "&user=reader");
  const auto rows = store->read(std::array{OnlineKey{"t", "k"}});
  ASSERT_FALSE(rows.ok());
  EXPECT_EQ(rows.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(rows.error().message, testing::HasSubstr("permission denied"));
}

TEST(PostgresName, IsReadAndNamedWithoutSecrets) {
  EXPECT_EQ(*postgres_name("postgresql://u:secret@db.example:6000/features?sslmode=require"),
            "postgresql://db.example:6000/features");
  EXPECT_EQ(*postgres_name("postgres://u@[::1]/f"), "postgresql://[::1]:5432/f");
  EXPECT_EQ(*postgres_name("postgresql:///f?host=/run/postgresql&user=u"), "postgresql:///f?host=/run/postgresql");
  for (const char* url : {"", "host=x password=secret", "mysql://x", "postgresql://u:secret@[::1/f",
                          "postgresql://u:secret@h/f?no_such=1", "postgresql://u:secret@h/f?sslmode"}) {
    const auto name = postgres_name(url);
    ASSERT_FALSE(name.ok()) << url;
    EXPECT_EQ(name.error().kind, ErrorKind::invalid_argument);
    EXPECT_THAT(name.error().message, testing::Not(testing::HasSubstr("secret"))) << url;
  }
}

}  // namespace
}  // namespace thaw::adapters

namespace thaw::ports {
INSTANTIATE_TEST_SUITE_P(Postgres, OnlineStoreContract, testing::Values(&adapters::make_postgres_fixture));
}  // namespace thaw::ports
