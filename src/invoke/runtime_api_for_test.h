// A Runtime API on a port of this machine, and the host's side of it.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <future>
#include <memory>
#include <string>

#include "http/raw_client_for_test.h"
#include "invoke/runtime_api.h"

namespace thaw::invoke {

inline constexpr std::string_view kNext = "/2018-06-01/runtime/invocation/next";
// Bounds against hanging alone.
inline constexpr std::chrono::seconds kHang{20};

class RuntimeApiTest : public testing::Test {
 protected:
  RuntimeApiTest() : loops_(2) {
    loops_.start();
    auto listener = http::bind_tcp("127.0.0.1", 0);
    EXPECT_TRUE(listener.ok());
    sockaddr_in address{};
    socklen_t size = sizeof(address);
    EXPECT_EQ(::getsockname(listener->get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    auto opened = open(std::move(*listener));
    EXPECT_TRUE(opened.ok());
    api_ = std::move(*opened);
  }
  ~RuntimeApiTest() override {
    api_->end();
    api_.reset();
    reaper_.join();
  }

  static std::string path(const std::string& id, std::string_view what) {
    return "/2018-06-01/runtime/invocation/" + id + "/" + std::string(what);
  }
  static http::TimePoint in(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

  std::future<EventOutcome> invoke(const std::string& id, std::chrono::milliseconds time = kHang) {
    Event event;
    event.request_id = id;
    event.function_arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
    event.payload = "{\"n\":1}";
    event.trace_id = "Root=1-5759e988-bd862e3fe1be46a994272793";
    event.deadline = in(time);
    return boost::asio::co_spawn(loops_[0].executor(), api_->invoke(loops_[0], std::move(event)),
                                 boost::asio::use_future);
  }
  std::future<Status> ready(std::chrono::milliseconds time = kHang) {
    return boost::asio::co_spawn(loops_[0].executor(), api_->ready(loops_[0], in(time)), boost::asio::use_future);
  }
  // A runtime that does nothing wrong.
  void serve_one(const std::string& id) {
    http::RawClient runtime(port_);
    auto outcome = invoke(id);
    EXPECT_EQ(runtime.ask("GET", kNext).field("Lambda-Runtime-Aws-Request-Id"), id);
    EXPECT_EQ(runtime.ask("POST", path(id, "response"), "", "\"fine\"").status, 202);
    ASSERT_EQ(outcome.wait_for(kHang), std::future_status::ready);
    EXPECT_EQ(outcome.get().payload, "\"fine\"");
  }

  http::Loops loops_;
  boost::asio::thread_pool reaper_{1};
  std::uint16_t port_ = 0;
  std::shared_ptr<RuntimeApi> api_;

 private:
  Result<std::shared_ptr<RuntimeApi>> open(UniqueFd listener) {
    RuntimeApiSetup setup;
    setup.function = {"f", "$LATEST", "app.handler", "123456789012"};
    return RuntimeApi::open(loops_, reaper_, std::move(listener), std::move(setup));
  }
};

}  // namespace thaw::invoke
