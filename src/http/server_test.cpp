#include "http/server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "http/raw_client_for_test.h"

namespace thaw::http {
namespace {

using namespace std::chrono_literals;

// Longer than any write may wait here.
constexpr auto kSilence = 1500ms;
std::atomic<bool> endless_ended{false};

Task<> echo(Exchange& exchange) {
  if (exchange.request().target == "/stream") {
    (void)co_await exchange.start_stream({.content_type = "text/plain"});
    for (const char* piece : {"one\n", "two\n"}) (void)co_await exchange.write_stream(piece);
    (void)co_await exchange.finish_stream();
    co_return;
  }
  if (exchange.request().target == "/silent") {
    (void)co_await exchange.start_stream({.content_type = "text/plain"});
    boost::asio::basic_waitable_timer<std::chrono::steady_clock, boost::asio::wait_traits<std::chrono::steady_clock>,
                                      Executor>
        timer(exchange.loop().executor(), kSilence);
    co_await timer.async_wait(use_task);
    (void)co_await exchange.write_stream("at last\n");
    (void)co_await exchange.finish_stream();
    co_return;
  }
  if (exchange.request().target == "/endless") {
    // Ends by the deadline alone: the client never stops reading.
    exchange.set_write_deadline(std::chrono::steady_clock::now() + 500ms);
    (void)co_await exchange.start_stream({.content_type = "text/plain"});
    const std::string piece(1 << 20, 'x');
    Status sent;
    while (sent.ok()) sent = co_await exchange.write_stream(piece);
    endless_ended = true;
    co_return;
  }
  if (exchange.request().target == "/unread") {
    (void)co_await exchange.respond({.status = 413, .content_type = "text/plain", .body = "no\n"});
    co_return;
  }
  const auto body = co_await exchange.read_whole_body(100);
  if (!body.ok()) {
    (void)co_await exchange.respond({.status = http_status(body.error().kind), .body = body.error().message});
    co_return;
  }
  (void)co_await exchange.respond(
      {.content_type = "text/plain", .body = *body + "|" + std::string(exchange.request().target)});
}

class ServerTest : public testing::Test {
 protected:
  ServerTest() : loops_(2), server_(loops_, limits(), echo) {
    loops_.start();
    port_ = *server_.listen_tcp("127.0.0.1", 0);
  }
  ~ServerTest() override {
    server_.stop_accepting();
    server_.cut_off();
  }
  static ServerLimits limits() {
    ServerLimits limits;
    limits.header_bytes_max = 16384;
    limits.header_wait_max = 1s;
    limits.stall_wait_max = 1s;
    return limits;
  }
  Loops loops_;
  Server server_;
  std::uint16_t port_ = 0;
};

TEST_F(ServerTest, AnswersRequestAfterRequestOnOneConnection) {
  RawClient client(port_);
  client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(client.until("|/a").find("HTTP/1.1 200 OK"), std::string::npos);
  client.send("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_NE(client.until("|/b").find("abc|/b"), std::string::npos);
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrder) {
  RawClient client(port_);
  client.send(
      "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nAAPOST /2 HTTP/1.1\r\nHost: x\r\n"
      "Transfer-Encoding: chunked\r\n\r\n2\r\nBB\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string got = client.all();
  EXPECT_LT(got.find("AA|/1"), got.find("BB|/2"));
  EXPECT_NE(got.find("|/3"), std::string::npos);
  EXPECT_NE(got.find("Connection: close"), std::string::npos);
}

TEST_F(ServerTest, ChunksCutAnywhereMakeTheSameBody) {
  const std::string request =
      "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nT: "
      "x\r\n\r\n";
  for (std::size_t cut = 1; cut < request.size(); cut += 3) {
    RawClient client(port_);
    client.send(request.substr(0, cut));
    std::this_thread::sleep_for(2ms);
    client.send(request.substr(cut));
    EXPECT_NE(client.until("|/c").find("hello world|/c"), std::string::npos) << "cut at " << cut;
  }
}

TEST_F(ServerTest, StreamsInChunks) {
  RawClient client(port_);
  client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string got = client.until("0\r\n\r\n");
  EXPECT_NE(got.find("Transfer-Encoding: chunked"), std::string::npos);
  EXPECT_NE(got.find("4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n"), std::string::npos);
}

TEST_F(ServerTest, AStreamMayBeSilentForLongerThanAWriteMayWait) {
  RawClient client(port_);
  client.send("GET /silent HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(client.until("0\r\n\r\n").find("at last"), std::string::npos);
}

TEST_F(ServerTest, AWriteDeadlineHoldsForAClientThatReadsSlowly) {
  RawClient client(port_);
  client.receive_at_most(1 << 14);
  client.send("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n");
  // Some bytes move all the time, so that the bound on stalling never holds.
  const auto until = std::chrono::steady_clock::now() + 20s;
  while (!endless_ended && std::chrono::steady_clock::now() < until && client.some(64) > 0)
    std::this_thread::sleep_for(5ms);
  EXPECT_TRUE(endless_ended);
}

TEST_F(ServerTest, Http10GetsAnUnframedStreamAndTheEnd) {
  RawClient client(port_);
  client.send("GET /stream HTTP/1.0\r\n\r\n");
  const std::string got = client.all();
  EXPECT_EQ(got.find("chunked"), std::string::npos);
  EXPECT_NE(got.find("\r\n\r\none\ntwo\n"), std::string::npos);
}

TEST_F(ServerTest, HeadGetsNoBody) {
  RawClient client(port_);
  client.send("HEAD /h HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string got = client.all();
  EXPECT_NE(got.find("Content-Length: 3"), std::string::npos);
  EXPECT_EQ(got.substr(got.size() - 4), "\r\n\r\n");
}

TEST_F(ServerTest, ContinueIsSentOnlyWhenTheBodyIsWanted) {
  RawClient wanted(port_);
  wanted.send("POST /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_NE(wanted.until("\r\n\r\n").find("100 Continue"), std::string::npos);
  wanted.send("ok");
  EXPECT_NE(wanted.until("|/e").find("ok|/e"), std::string::npos);
  RawClient unwanted(port_);
  unwanted.send("POST /unread HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
  const std::string got = unwanted.until("no\n");
  EXPECT_EQ(got.find("100 Continue"), std::string::npos);
  EXPECT_NE(got.find("413"), std::string::npos);
}

TEST_F(ServerTest, RefusalReachesAClientThatIsStillSending) {
  RawClient client(port_);
  client.send("POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n");
  const std::string piece(1 << 20, 'x');
  for (int i = 0; i < 20; ++i) client.send(piece);
  EXPECT_NE(client.until("no\n").find("413"), std::string::npos);
}

TEST_F(ServerTest, BodyBeyondTheBoundIsTooLarge) {
  RawClient declared(port_);
  declared.send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n");
  EXPECT_NE(declared.until("\r\n\r\n").find("413"), std::string::npos);
  RawClient chunked(port_);
  chunked.send("POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + std::string(101, 'x') +
               "\r\n0\r\n\r\n");
  EXPECT_NE(chunked.until("\r\n\r\n").find("413"), std::string::npos);
}

TEST_F(ServerTest, HeaderBeyondTheBoundIs431) {
  RawClient client(port_);
  client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + std::string(1 << 20, 'a') + "\r\n\r\n");
  EXPECT_NE(client.until("\r\n\r\n").find("HTTP/1.1 431"), std::string::npos);
}

TEST_F(ServerTest, MalformedRequestsAre400) {
  for (const char* const request :
       {"garbage\r\n\r\n", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", "GET /\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    RawClient client(port_);
    client.send(request);
    EXPECT_NE(client.until("\r\n\r\n").find("HTTP/1.1 400"), std::string::npos) << request;
  }
}

TEST_F(ServerTest, HeadThatNeverEndsIsClosed) {
  RawClient client(port_);
  client.send("GET / HTTP/1.1\r\nHost: x\r\n");
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(client.all(), "");
  EXPECT_LT(std::chrono::steady_clock::now() - began, 8s);
}

TEST_F(ServerTest, UnixSocketServesToo) {
  const std::string path = "/tmp/thaw-http-test-" + std::to_string(::getpid());
  ASSERT_TRUE(server_.listen_unix(path, 0600).ok());
  EXPECT_FALSE(server_.listen_unix(path, 0600).ok()) << "somebody listens there already";
}

}  // namespace
}  // namespace thaw::http
