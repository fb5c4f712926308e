#include "invoke/runtime_api.h"

#include <gmock/gmock.h>

#include <thread>
#include <vector>

#include "invoke/runtime_api_for_test.h"

namespace thaw::invoke {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using RuntimeApiMisuseTest = RuntimeApiTest;

TEST_F(RuntimeApiMisuseTest, GarbageIsRefusedAndHarmsNobody) {
  for (const std::string_view bytes :
       {std::string_view("\0\1\2\3\r\n\r\n", 8), std::string_view("GET\r\n\r\n"),
        std::string_view("POST /2018-06-01/runtime/invocation/1/response HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
        std::string_view("GET /2018-06-01/runtime/invocation/next HTTP/9.9\r\n\r\n")}) {
    http::RawClient client(port_);
    client.send(bytes);
    const http::RawClient::Answer answer = client.answer();
    EXPECT_TRUE(answer.status == 0 || answer.status >= 400) << answer.head;
    EXPECT_TRUE(client.ends());
  }
  serve_one("1");
}

TEST_F(RuntimeApiMisuseTest, AHeadWithoutEndIsRefused) {
  http::RawClient client(port_);
  client.send("GET " + std::string(kNext) + " HTTP/1.1\r\nHost: x\r\nX: " + std::string(200000, 'a') + "\r\n\r\n");
  EXPECT_EQ(client.answer().status, 431);
  EXPECT_TRUE(client.ends());
  serve_one("1");
}

TEST_F(RuntimeApiMisuseTest, PathsAndMethodsThatDoNotExist) {
  http::RawClient client(port_);
  for (const char* path :
       {"/", "/2018-06-01/runtime/", "/2018-06-01/runtime/invocation/", "/2018-06-01/runtime/invocation/1",
        "/2018-06-01/runtime/invocation/1/response/more", "/2020-01-01/extension/nothing"}) {
    EXPECT_EQ(client.ask("GET", path).status, 404) << path;
  }
  EXPECT_EQ(client.ask("DELETE", kNext).status, 404);
}

TEST_F(RuntimeApiMisuseTest, AnAnswerToNobodyAndASecondOneAreRefused) {
  http::RawClient runtime(port_);
  auto outcome = invoke("1");
  EXPECT_EQ(runtime.ask("GET", kNext).status, 200);
  for (const char* id : {"2", "", "..", "%2e"}) {
    const auto answer = runtime.ask("POST", path(id, "response"), "", "{}");
    EXPECT_EQ(answer.status, 400) << id;
    EXPECT_THAT(answer.body, HasSubstr("InvalidRequestID"));
  }
  EXPECT_EQ(runtime.ask("POST", path("1", "response"), "", "1").status, 202);
  EXPECT_EQ(runtime.ask("POST", path("1", "response"), "", "2").status, 400);
  EXPECT_EQ(runtime.ask("POST", path("1", "error"), "", "3").status, 400);
  EXPECT_EQ(outcome.get().payload, "1");
}

TEST_F(RuntimeApiMisuseTest, AnAnswerThatStopsHalfWayEndsWithTheEventsTime) {
  http::RawClient runtime(port_);
  auto outcome = invoke("1", 300ms);
  EXPECT_EQ(runtime.ask("GET", kNext).status, 200);
  runtime.send("POST " + path("1", "response") + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
  ASSERT_EQ(outcome.wait_for(kHang), std::future_status::ready);
  EXPECT_EQ(outcome.get().status.error().kind, ErrorKind::timeout);
  serve_one("2");
}

TEST_F(RuntimeApiMisuseTest, AnAnswerThatBreaksOffFailsTheEvent) {
  auto outcome = invoke("1");
  {
    http::RawClient runtime(port_);
    EXPECT_EQ(runtime.ask("GET", kNext).status, 200);
    runtime.send("POST " + path("1", "response") + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
  }
  ASSERT_EQ(outcome.wait_for(kHang), std::future_status::ready);
  EXPECT_FALSE(outcome.get().status.ok());
  serve_one("2");
}

TEST_F(RuntimeApiMisuseTest, AWaiterThatGoesAwayTakesNoEventWithIt) {
  for (int i = 0; i < 5; ++i) {
    http::RawClient gone(port_);
    gone.send_request("GET", kNext);
  }
  // They are seen to be gone at a sweep.
  std::this_thread::sleep_for(4 * http::kSweepEvery);
  serve_one("1");
}

TEST_F(RuntimeApiMisuseTest, AHalfClosedConnectionIsNoRuntime) {
  http::RawClient half(port_);
  half.send_request("GET", kNext);
  half.half_close();
  EXPECT_TRUE(half.ends());
  serve_one("1");
}

TEST_F(RuntimeApiMisuseTest, ConnectionsBeyondTheBoundWaitForOneThatEnds) {
  std::vector<std::unique_ptr<http::RawClient>> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(std::make_unique<http::RawClient>(port_));
    EXPECT_TRUE(clients.back()->connected());
  }
  clients.clear();
  serve_one("1");
}

TEST_F(RuntimeApiMisuseTest, AnInitErrorIsTakenOnceWhateverItsBody) {
  http::RawClient runtime(port_);
  auto status = ready();
  EXPECT_EQ(runtime.ask("POST", "/2018-06-01/runtime/init/error", "", "no JSON").status, 202);
  ASSERT_EQ(status.wait_for(kHang), std::future_status::ready);
  const Status outcome = status.get();
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().code, "Runtime.Unknown");
  EXPECT_EQ(api_->init_error_document(), "");
  EXPECT_EQ(runtime.ask("POST", "/2018-06-01/runtime/init/error", "", "{}").status, 403);
}

TEST_F(RuntimeApiMisuseTest, WhoWaitsWhenTheEnvironmentEndsIsTold) {
  http::RawClient runtime(port_);
  runtime.send_request("GET", kNext);
  ASSERT_TRUE(ready().get().ok());
  api_->end();
  EXPECT_EQ(runtime.answer().status, 410);
  EXPECT_EQ(invoke("1").get().status.error().kind, ErrorKind::unavailable);
}

}  // namespace
}  // namespace thaw::invoke
