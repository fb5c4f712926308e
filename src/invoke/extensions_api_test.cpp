#include "invoke/extensions_api.h"

#include <gmock/gmock.h>

#include <boost/json.hpp>

#include "invoke/runtime_api_for_test.h"

namespace thaw::invoke {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr std::string_view kRegister = "/2020-01-01/extension/register";
constexpr std::string_view kEventNext = "/2020-01-01/extension/event/next";
constexpr std::string_view kBoth = R"({"events":["INVOKE","SHUTDOWN"]})";
constexpr std::string_view kInvokeOnly = R"({"events":["INVOKE"]})";

class ExtensionsApiTest : public RuntimeApiTest {
 protected:
  static std::string named(std::string_view name) { return "Lambda-Extension-Name: " + std::string(name) + "\r\n"; }
  static std::string known(std::string_view id) { return "Lambda-Extension-Identifier: " + std::string(id) + "\r\n"; }
  // The identifier.
  std::string register_one(http::RawClient& client, std::string_view name, std::string_view events) {
    const auto answer = client.ask("POST", kRegister, named(name), events);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return answer.field("Lambda-Extension-Identifier");
  }
  void expect_refusal(const http::RawClient::Answer& answer, std::string_view type) {
    EXPECT_EQ(answer.status, 403);
    EXPECT_THAT(answer.body, HasSubstr("\"errorType\":\"" + std::string(type) + "\""));
  }
  bool pending(std::future<Status>& status) { return status.wait_for(100ms) == std::future_status::timeout; }
};

TEST_F(ExtensionsApiTest, RegistrationTellsOfTheFunction) {
  http::RawClient client(port_);
  const auto answer =
      client.ask("POST", kRegister, named("inside") + "Lambda-Extension-Accept-Feature: accountId\r\n", kInvokeOnly);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.field("Lambda-Extension-Identifier").size(), 36U);
  EXPECT_EQ(answer.body,
            R"({"functionName":"f","functionVersion":"$LATEST","handler":"app.handler","accountId":"123456789012"})");
  EXPECT_THAT(client.ask("POST", kRegister, named("other"), "{}").body, Not(HasSubstr("accountId")));
}

TEST_F(ExtensionsApiTest, RegistrationsThatAreRefused) {
  api_->extensions().expect({"outside"});
  http::RawClient client(port_);
  expect_refusal(client.ask("POST", kRegister, "", kInvokeOnly), "Extension.InvalidExtensionName");
  expect_refusal(client.ask("POST", kRegister, named(std::string(200, 'x')), kInvokeOnly),
                 "Extension.InvalidExtensionName");
  for (const char* body :
       {"", "[]", "{", R"({"events":1})", R"({"events":[1]})", R"({"events":["INVOKE","INVOKE","INVOKE"]})"})
    expect_refusal(client.ask("POST", kRegister, named("outside"), body), "InvalidRequestFormat");
  expect_refusal(client.ask("POST", kRegister, named("outside"), R"({"events":["OTHER"]})"),
                 "Extension.InvalidEventType");
  expect_refusal(client.ask("POST", kRegister, named("inside"), kBoth), "Extension.InvalidEventType");
  register_one(client, "outside", kBoth);
  expect_refusal(client.ask("POST", kRegister, named("outside"), kBoth), "Extension.InvalidExtensionState");
  for (int i = 1; i < 10; ++i) register_one(client, "inside-" + std::to_string(i), kInvokeOnly);
  expect_refusal(client.ask("POST", kRegister, named("inside-10"), kInvokeOnly), "Extension.TooManyExtensions");
}

TEST_F(ExtensionsApiTest, NobodyRegistersOnceTheRuntimeIsReady) {
  http::RawClient runtime(port_);
  runtime.send_request("GET", kNext);
  ASSERT_TRUE(ready().get().ok());
  http::RawClient client(port_);
  expect_refusal(client.ask("POST", kRegister, named("late"), kInvokeOnly), "Extension.RegistrationClosed");
}

TEST_F(ExtensionsApiTest, IdentifiersThatAreMissingOrUnknown) {
  http::RawClient client(port_);
  for (const auto& [method, path] :
       {std::pair("GET", kEventNext), std::pair("POST", std::string_view("/2020-01-01/extension/init/error"))}) {
    expect_refusal(client.ask(method, path), "Extension.MissingExtensionIdentifier");
    expect_refusal(client.ask(method, path, known("short")), "Extension.InvalidExtensionIdentifier");
    expect_refusal(client.ask(method, path, known(std::string(36, '0'))), "Extension.UnknownExtensionIdentifier");
  }
}

TEST_F(ExtensionsApiTest, TheInitWaitsForAllToAskForTheirFirstEvent) {
  api_->extensions().expect({"outside"});
  auto status = ready();
  http::RawClient runtime(port_);
  runtime.send_request("GET", kNext);
  EXPECT_TRUE(pending(status));
  http::RawClient extension(port_);
  const std::string id = register_one(extension, "outside", kBoth);
  EXPECT_TRUE(pending(status));
  extension.send_request("GET", kEventNext, known(id));
  ASSERT_EQ(status.wait_for(kHang), std::future_status::ready);
  EXPECT_TRUE(status.get().ok());
}

TEST_F(ExtensionsApiTest, AnInvocationIsOverWhenWhoHearsOfItAsksForTheNext) {
  api_->extensions().expect({"outside"});
  http::RawClient extension(port_);
  const std::string id = register_one(extension, "outside", kBoth);
  extension.send_request("GET", kEventNext, known(id));
  http::RawClient runtime(port_);
  runtime.send_request("GET", kNext);
  ASSERT_TRUE(ready().get().ok());
  EXPECT_TRUE(api_->extensions().at_rest());

  auto outcome = invoke("77");
  const auto heard = extension.answer();
  const auto event = boost::json::parse(heard.body).as_object();
  EXPECT_EQ(event.at("eventType"), "INVOKE");
  EXPECT_EQ(event.at("requestId"), "77");
  EXPECT_EQ(event.at("invokedFunctionArn"), "arn:aws:lambda:us-east-1:000000000000:function:f");
  EXPECT_EQ(event.at("tracing").at("type"), "X-Amzn-Trace-Id");
  EXPECT_GT(event.at("deadlineMs").as_int64(), 1'700'000'000'000);
  EXPECT_EQ(heard.field("Lambda-Extension-Event-Identifier").size(), 36U);
  EXPECT_EQ(runtime.answer().status, 200);
  EXPECT_EQ(runtime.ask("POST", path("77", "response"), "", "1").status, 202);
  EXPECT_EQ(outcome.get().payload, "1");
  EXPECT_FALSE(api_->extensions().at_rest());
  auto rest = boost::asio::co_spawn(loops_[0].executor(), api_->rest(loops_[0], in(kHang)), boost::asio::use_future);
  EXPECT_TRUE(pending(rest));
  extension.send_request("GET", kEventNext, known(id));
  ASSERT_EQ(rest.wait_for(kHang), std::future_status::ready);
  EXPECT_TRUE(rest.get().ok());

  api_->extensions().shut_down("SPINDOWN", in(2s));
  const auto end = boost::json::parse(extension.answer().body).as_object();
  EXPECT_EQ(end.at("eventType"), "SHUTDOWN");
  EXPECT_EQ(end.at("shutdownReason"), "SPINDOWN");
}

TEST_F(ExtensionsApiTest, AnExtensionThatNeverRestsIsBoundedByTheTime) {
  http::RawClient extension(port_);
  const std::string id = register_one(extension, "inside", kInvokeOnly);
  extension.send_request("GET", kEventNext, known(id));
  http::RawClient runtime(port_);
  runtime.send_request("GET", kNext);
  ASSERT_TRUE(ready().get().ok());
  auto outcome = invoke("1");
  EXPECT_EQ(extension.answer().status, 200);
  EXPECT_EQ(runtime.answer().status, 200);
  runtime.ask("POST", path("1", "response"), "", "1");
  ASSERT_TRUE(outcome.get().status.ok());
  auto rest = boost::asio::co_spawn(loops_[0].executor(), api_->rest(loops_[0], in(100ms)), boost::asio::use_future);
  ASSERT_EQ(rest.wait_for(kHang), std::future_status::ready);
  EXPECT_EQ(rest.get().error().kind, ErrorKind::timeout);
}

TEST_F(ExtensionsApiTest, AnErrorOfAnExtensionFailsTheInit) {
  auto status = ready();
  http::RawClient extension(port_);
  const std::string id = register_one(extension, "inside", kInvokeOnly);
  const std::string_view path = "/2020-01-01/extension/init/error";
  expect_refusal(extension.ask("POST", path, known(id), "{}"), "Extension.MissingHeader");
  const std::string type = "Lambda-Extension-Function-Error-Type: Extension.NoConfig\r\n";
  EXPECT_EQ(extension.ask("POST", path, known(id) + type, "{}").status, 202);
  ASSERT_EQ(status.wait_for(kHang), std::future_status::ready);
  const Status outcome = status.get();
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().code, "Extension.InitError");
  EXPECT_THAT(outcome.error().message, HasSubstr("inside"));
}

TEST_F(ExtensionsApiTest, AnExtensionThatIsLostFailsTheEvent) {
  api_->extensions().expect({"outside"});
  http::RawClient extension(port_);
  extension.send_request("GET", kEventNext, known(register_one(extension, "outside", kInvokeOnly)));
  http::RawClient runtime(port_);
  runtime.send_request("GET", kNext);
  ASSERT_TRUE(ready().get().ok());
  auto outcome = invoke("1");
  EXPECT_EQ(runtime.answer().status, 200);
  http::RawClient launcher(port_);
  EXPECT_EQ(launcher.ask("POST", "/thaw/extensions/lost", named("outside"), "exit status 3").status, 200);
  ASSERT_EQ(outcome.wait_for(kHang), std::future_status::ready);
  const EventOutcome failed = outcome.get();
  ASSERT_FALSE(failed.status.ok());
  EXPECT_EQ(failed.status.error().code, "Extension.Crash");
  EXPECT_EQ(failed.status.error().message, "Error: extension outside exited: exit status 3");
}

TEST_F(ExtensionsApiTest, TheLauncherHearsWhenAllHaveRegistered) {
  api_->extensions().expect({"a", "b"});
  http::RawClient launcher(port_);
  launcher.send_request("GET", "/thaw/extensions/registered");
  http::RawClient extension(port_);
  register_one(extension, "a", kInvokeOnly);
  register_one(extension, "b", kInvokeOnly);
  EXPECT_EQ(launcher.answer().status, 200);
}

TEST_F(ExtensionsApiTest, TheLauncherHearsWhenTheEnvironmentEnds) {
  api_->extensions().expect({"a"});
  http::RawClient launcher(port_);
  launcher.send_request("GET", "/thaw/extensions/registered");
  http::RawClient extension(port_);
  EXPECT_EQ(extension.ask("GET", "/2018-06-01/none").status, 404);
  api_->end();
  EXPECT_EQ(launcher.answer().status, 410);
}

}  // namespace
}  // namespace thaw::invoke
