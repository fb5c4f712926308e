#include "invoke/response_stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <future>
#include <thread>

namespace thaw::invoke {
namespace {

using namespace std::chrono_literals;
constexpr auto kHang = 20s;

// The runtime's side on one loop, the taker's on another.
class ResponseStreamTest : public testing::Test {
 protected:
  ResponseStreamTest() : loops_(2) { loops_.start(); }

  std::future<void> push(int count, std::size_t bytes) {
    return boost::asio::co_spawn(loops_[0].executor(), push_all(count, bytes), boost::asio::use_future);
  }
  std::future<std::string> take() {
    return boost::asio::co_spawn(loops_[1].executor(), take_all(), boost::asio::use_future);
  }

  ResponseStream stream_;
  std::atomic<int> pushed_{0};
  std::atomic<int> pieces_{0};

 private:
  http::Task<> push_all(int count, std::size_t bytes) {
    for (int i = 0; i < count; ++i) {
      co_await stream_.push(loops_[0], std::string(bytes, static_cast<char>('a' + i % 26)));
      ++pushed_;
    }
  }
  http::Task<std::string> take_all() {
    std::string all;
    for (;;) {
      const auto piece = co_await stream_.next(loops_[1]);
      if (!piece) co_return all;
      ++pieces_;
      if (piece->content_type) all += "<" + *piece->content_type + ">";
      all += piece->bytes;
    }
  }

  http::Loops loops_;
};

std::string expected(int count, std::size_t bytes) {
  std::string all;
  for (int i = 0; i < count; ++i) all.append(bytes, static_cast<char>('a' + i % 26));
  return all;
}

TEST_F(ResponseStreamTest, AllComesThroughInOrder) {
  auto taken = take();
  stream_.begin("text/plain");
  ASSERT_EQ(push(500, 10000).wait_for(kHang), std::future_status::ready);
  stream_.close();
  ASSERT_EQ(taken.wait_for(kHang), std::future_status::ready);
  EXPECT_EQ(taken.get(), "<text/plain>" + expected(500, 10000));
}

TEST_F(ResponseStreamTest, ATakerThatIsSlowHoldsTheRuntimeUp) {
  auto pushing = push(100, 64 << 10);
  EXPECT_EQ(pushing.wait_for(200ms), std::future_status::timeout);
  EXPECT_EQ(pushed_, 3);
  auto taken = take();
  ASSERT_EQ(pushing.wait_for(kHang), std::future_status::ready);
  stream_.close();
  EXPECT_EQ(taken.get(), expected(100, 64 << 10));
}

TEST_F(ResponseStreamTest, SmallPiecesThatWaitBecomeFew) {
  ASSERT_EQ(push(100000, 1).wait_for(kHang), std::future_status::ready);
  stream_.close();
  EXPECT_EQ(take().get(), expected(100000, 1));
  EXPECT_LE(pieces_, 2);
}

TEST_F(ResponseStreamTest, WithoutATakerNothingIsHeldUp) {
  auto pushing = push(100, 64 << 10);
  EXPECT_EQ(pushing.wait_for(100ms), std::future_status::timeout);
  stream_.abandon();
  ASSERT_EQ(pushing.wait_for(kHang), std::future_status::ready);
  stream_.close();
  EXPECT_EQ(take().get(), "");
}

TEST_F(ResponseStreamTest, ClosingFreesBothSides) {
  auto pushing = push(100, 64 << 10);
  EXPECT_EQ(pushing.wait_for(100ms), std::future_status::timeout);
  stream_.close();
  ASSERT_EQ(pushing.wait_for(kHang), std::future_status::ready);
  EXPECT_EQ(take().get(), expected(4, 64 << 10));
}

TEST_F(ResponseStreamTest, ATakerThatWaitsEndsWithTheStream) {
  auto taken = take();
  EXPECT_EQ(taken.wait_for(100ms), std::future_status::timeout);
  stream_.close();
  ASSERT_EQ(taken.wait_for(kHang), std::future_status::ready);
}

}  // namespace
}  // namespace thaw::invoke
