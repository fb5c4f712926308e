#include "adapters/nats/event_queue.h"

#include <atomic>
#include <mutex>

#include "adapters/nats/server_for_test.h"
#include "ports/event_queue_contract_test.h"

namespace thaw::adapters {
namespace {

using ports::EventQueueContract;

std::unique_ptr<ports::EventQueue> open_or_abort(const NatsQueueOptions& options) {
  auto opened = open_nats_event_queue(options);
  if (!opened.ok()) {
    ADD_FAILURE() << opened.error().message;
    std::abort();
  }
  return std::move(*opened);
}

class NatsFixture final : public ports::QueueFixture {
 public:
  NatsFixture() { reopen(); }
  ports::EventQueue& queue() override { return *queue_; }
  void reopen() override {
    queue_.reset();
    queue_ = open_or_abort({.urls = server_.url(),
                            .events_max = ports::kFixtureEventsMax,
                            .bytes_max = ports::kFixtureBytesMax,
                            .owner_gone = std::chrono::milliseconds(1000)});
  }

 private:
  NatsServerForTest server_;
  std::unique_ptr<ports::EventQueue> queue_;
};

std::unique_ptr<ports::QueueFixture> make_nats_fixture() {
  return NatsServerForTest::installed() ? std::make_unique<NatsFixture>() : nullptr;
}

}  // namespace
}  // namespace thaw::adapters

namespace thaw::ports {
INSTANTIATE_TEST_SUITE_P(Nats, EventQueueContract, testing::Values(&adapters::make_nats_fixture));
}

namespace thaw::adapters {
namespace {

using ports::NewEvent;
using ports::Settlement;
using ports::TakenEvent;

constexpr std::chrono::seconds kHang{60};

class NatsQueue : public testing::Test {
 protected:
  void SetUp() override {
    if (!NatsServerForTest::installed()) GTEST_SKIP() << "nats-server is not installed";
  }

  static NewEvent event(const std::string& id, std::string body = "body") {
    return {.id = id, .lane = "lane", .body = std::move(body), .accepted_ms = 1};
  }
  static Status put(ports::EventQueue& queue, const std::string& id) { return queue.put(std::vector{event(id)}); }
  static Status settle(ports::EventQueue& queue, Settlement settlement) {
    return queue.settle(std::vector{std::move(settlement)});
  }
  template <class Done>
  static bool eventually(Done done) {
    for (const auto until = std::chrono::steady_clock::now() + kHang; std::chrono::steady_clock::now() < until;) {
      if (done()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }
};

TEST_F(NatsQueue, AServerThatCannotHoldEventsIsRefusedWithWhatToChange) {
  const NatsServerForTest small("");
  const auto refused = open_nats_event_queue({.urls = small.url()});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::unsupported);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("set max_payload = 10MB in the server's configuration"));
}

TEST_F(NatsQueue, NoServerAndAWrongPasswordAreSaidWithoutThePassword) {
  NatsServerForTest server("max_payload: 10MB\nauthorization {user: joe, password: secret}\n");
  const std::string place = "127.0.0.1:" + std::to_string(server.port());
  ASSERT_TRUE(open_nats_event_queue({.urls = "nats://joe:secret@" + place}).ok());
  const auto wrong = open_nats_event_queue({.urls = "nats://joe:other@" + place});
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().kind, ErrorKind::forbidden) << wrong.error().message;
  EXPECT_THAT(wrong.error().message,
              testing::AllOf(testing::HasSubstr(place), testing::Not(testing::HasSubstr("other"))));
  server.kill();
  const auto away = open_nats_event_queue({.urls = "nats://joe:secret@" + place});
  ASSERT_FALSE(away.ok());
  EXPECT_EQ(away.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(away.error().message,
              testing::AllOf(testing::HasSubstr(place), testing::Not(testing::HasSubstr("secret"))));
}

TEST_F(NatsQueue, WhatWasStoredOutlivesAKillOfTheServer) {
  NatsServerForTest server;
  const auto queue = open_or_abort({.urls = server.url(), .owner_gone = std::chrono::milliseconds(1000)});
  std::set<std::string> left;
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(put(*queue, "e" + std::to_string(i)).ok());
    left.insert("e" + std::to_string(i));
  }
  const auto taken = queue->take({.count_max = 3, .lease = kHang});
  ASSERT_TRUE(taken.ok()) << taken.error().message;
  ASSERT_EQ(taken->size(), 3U);
  server.kill();
  ASSERT_TRUE(eventually([&] {
    const Status refused = put(*queue, "meanwhile");
    return !refused.ok() && refused.error().kind == ErrorKind::unavailable;
  }));
  EXPECT_EQ(queue->take({}).error().kind, ErrorKind::unavailable);
  EXPECT_EQ(settle(*queue, {.handle = (*taken)[0].handle}).error().kind, ErrorKind::unavailable);
  server.start();
  // What it had taken it still has.
  ASSERT_TRUE(eventually([&] { return settle(*queue, {.handle = (*taken)[0].handle}).ok(); }));
  left.erase((*taken)[0].id);
  ASSERT_TRUE(settle(*queue, {.handle = (*taken)[1].handle, .kind = Settlement::Kind::retry, .attempts = 1}).ok());
  std::set<std::string> seen{(*taken)[2].id};
  while (seen.size() < left.size()) {
    const auto more = queue->take({.count_max = 10, .lease = kHang, .wait_max = kHang});
    ASSERT_TRUE(more.ok()) << more.error().message;
    ASSERT_FALSE(more->empty());
    for (const TakenEvent& one : *more) {
      EXPECT_TRUE(seen.insert(one.id).second) << one.id << " was given out twice";
      EXPECT_EQ(one.attempts, one.id == (*taken)[1].id ? 1U : 0U);
    }
  }
  seen.erase("meanwhile");  // a put that failed may be there
  EXPECT_EQ(seen, left);
}

TEST_F(NatsQueue, NodesThatShareAStreamRunEachEventOnce) {
  const NatsServerForTest server;
  constexpr int kEvents = 300;
  constexpr int kNodes = 3;
  std::vector<std::unique_ptr<ports::EventQueue>> nodes;
  for (int i = 0; i < kNodes; ++i) nodes.push_back(open_or_abort({.urls = server.url()}));
  std::mutex mutex;
  std::map<std::string, int> runs;
  std::vector<std::thread> threads;
  std::atomic<int> over{0};
  std::vector<int> shares(kNodes, 0);
  for (int i = 0; i < kNodes; ++i) {
    threads.emplace_back([&, i] {
      const auto until = std::chrono::steady_clock::now() + kHang;
      while (over < kEvents && std::chrono::steady_clock::now() < until) {
        const auto taken = nodes[i]->take({.count_max = 5, .lease = kHang, .wait_max = std::chrono::milliseconds(100)});
        if (!taken.ok()) continue;
        for (const TakenEvent& one : *taken) {
          {
            const std::lock_guard lock(mutex);
            ++runs[one.id];
            ++shares[i];
          }
          if (settle(*nodes[i], {.handle = one.handle}).ok()) ++over;
        }
      }
    });
  }
  for (int i = 0; i < kEvents; ++i) EXPECT_TRUE(put(*nodes[i % kNodes], "e" + std::to_string(i)).ok());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(runs.size(), static_cast<std::size_t>(kEvents));
  for (const auto& [id, count] : runs) EXPECT_EQ(count, 1) << id;
  for (int i = 0; i < kNodes; ++i) EXPECT_GT(shares[i], 0) << "node " << i;
  for (const auto& node : nodes) EXPECT_TRUE(eventually([&] { return node->counts()->events == 0; }));
}

}  // namespace
}  // namespace thaw::adapters
