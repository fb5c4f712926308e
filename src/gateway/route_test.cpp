#include "gateway/route.h"

#include <gtest/gtest.h>

namespace thaw::gateway {
namespace {

Route routed(std::string_view host, std::string_view target) {
  auto result = route(host, target);
  EXPECT_TRUE(result.ok()) << target;
  return result.ok() ? *result : Route{};
}

TEST(Route, SubdomainOfLocalhostNamesTheFunctionAndKeepsTheTarget) {
  const Route found = routed("Hello.localhost:8080", "/docs?x=1");
  EXPECT_EQ(found.kind, RouteKind::function);
  EXPECT_EQ(found.function_name, "Hello");
  EXPECT_EQ(found.target, "/docs?x=1");
  EXPECT_EQ(found.prefix, "");
}

TEST(Route, SubdomainHidesTheControlApi) {
  EXPECT_EQ(routed("hello.localhost", "/2015-03-31/functions").kind, RouteKind::function);
}

TEST(Route, PathNamesTheFunctionAndLosesItsPrefix) {
  const Route found = routed("localhost:8080", "/fn/qa/question?a=%2F");
  EXPECT_EQ(found.kind, RouteKind::function);
  EXPECT_EQ(found.function_name, "qa");
  EXPECT_EQ(found.target, "/question?a=%2F");
  EXPECT_EQ(found.prefix, "/fn/qa");
}

TEST(Route, AbsoluteFormIsReadAsItsPath) {
  const Route found = routed("proxy", "http://localhost/fn/qa/x");
  EXPECT_EQ(found.function_name, "qa");
  EXPECT_EQ(found.target, "/x");
  EXPECT_EQ(routed("hello.localhost", "http://hello.localhost?q=/").target, "/");
  EXPECT_EQ(routed("hello.localhost", "http://hello.localhost").target, "/");
  EXPECT_EQ(routed("hello.localhost", "http://hello.localhost/?q").target, "/?q");
}

TEST(Route, FunctionWithoutSlashIsSentOn) {
  EXPECT_EQ(routed("localhost", "/fn/qa?x").kind, RouteKind::function_redirect);
  EXPECT_EQ(routed("localhost", "/fn/qa?x").function_name, "qa");
}

TEST(Route, QualifierStandsBehindAColonOrBeforeTheHost) {
  const Route found = routed("localhost", "/fn/qa:1/question?a=b:c");
  EXPECT_EQ(found.function_name, "qa");
  EXPECT_EQ(found.qualifier, "1");
  EXPECT_EQ(found.prefix, "/fn/qa:1");
  EXPECT_EQ(found.target, "/question?a=b:c");
  EXPECT_EQ(routed("localhost", "/fn/qa%3Alive/").qualifier, "live");
  EXPECT_EQ(routed("localhost", "/fn/qa%3Alive/").function_name, "qa");
  EXPECT_EQ(routed("localhost", "/fn/qa:%24LATEST/").qualifier, "%24LATEST");
  EXPECT_EQ(routed("localhost", "/fn/qa/a:b").qualifier, "");
  EXPECT_EQ(routed("localhost", "/fn/qa:/").qualifier, "");
  EXPECT_EQ(routed("localhost", "/fn/qa:2").prefix, "/fn/qa:2");
  const Route by_host = routed("live.qa.localhost:8080", "/docs");
  EXPECT_EQ(by_host.function_name, "qa");
  EXPECT_EQ(by_host.qualifier, "live");
  EXPECT_EQ(by_host.target, "/docs");
}

TEST(Route, ThawsOwnPaths) {
  EXPECT_EQ(routed("localhost", "/healthz").kind, RouteKind::health);
  EXPECT_EQ(routed("localhost", "/").kind, RouteKind::home);
  EXPECT_EQ(routed("localhost", "/thaw/v1/status").kind, RouteKind::control);
  EXPECT_EQ(routed("localhost", "/2015-03-31/functions").kind, RouteKind::control);
  EXPECT_EQ(routed("localhost", "/2021-10-31/functions/hello/url").kind, RouteKind::control);
  EXPECT_EQ(routed("localhost", "/2015").kind, RouteKind::unknown);
  EXPECT_EQ(routed("localhost", "/2015-03-31").kind, RouteKind::unknown);
  EXPECT_EQ(routed("localhost", "/2015-03-3x/functions").kind, RouteKind::unknown);
  EXPECT_EQ(routed("localhost", "/1999-03-31/functions").kind, RouteKind::unknown);
}

TEST(Route, OpenAiPathsGoWhereTheirBodySaysButNotOnAFunctionsOwnHost) {
  EXPECT_EQ(routed("localhost:8080", "/v1/chat/completions?x=1").kind, RouteKind::openai);
  EXPECT_EQ(routed("192.0.2.1", "/v1/models").target, "/v1/models");
  EXPECT_EQ(routed("chat.localhost:8080", "/v1/models").kind, RouteKind::function);
  EXPECT_EQ(routed("localhost", "/fn/chat/v1/models").kind, RouteKind::function);
  EXPECT_EQ(routed("localhost", "/v1").kind, RouteKind::unknown);
  EXPECT_EQ(routed("localhost", "/v10/models").kind, RouteKind::unknown);
}

TEST(CallAccess, FunctionsMayCallFunctionsAndChangeNone) {
  const auto access = [](std::string_view target, std::string_view host = "127.0.0.1:9002") {
    return call_access(routed(host, target));
  };
  for (const char* target : {"/fn/qa/", "/fn/qa", "/fn/qa:1/a?b", "/fn/qa/thaw/v1/status", "/v1/chat/completions",
                             "/v1/models", "/healthz", "/get-online-features", "/push"})
    EXPECT_EQ(access(target), CallAccess::allowed) << target;
  EXPECT_EQ(access("/2015-03-31/functions", "qa.localhost"), CallAccess::allowed);
  for (const char* target :
       {"/2015-03-31/functions/qa/invocations", "/2015-03-31/functions/qa/invocations?Qualifier=1",
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-central-1%3A000000000000%3Afunction%3Aqa/invocations"})
    EXPECT_EQ(access(target), CallAccess::invoke) << target;
  for (const char* target :
       {"/2015-03-31/functions", "/2015-03-31/functions/", "/2015-03-31/functions/qa",
        "/2015-03-31/functions//invocations", "/2015-03-31/functions/invocations",
        "/2015-03-31/functions/qa/versions/invocations", "/2015-03-31/functions/qa/invocations/",
        "/2015-03-31/functions/qa/invocationsX", "/2015-03-31/layers/qa/invocations",
        "/2016-08-19/functions/qa/invocations", "/2021-11-15/functions/qa/response-streaming-invocations",
        "/2015-03-31/functions?/invocations", "/thaw/v1/status", "/thaw/v1/functions/qa/logs", "/thaw/v1/features"})
    EXPECT_EQ(access(target), CallAccess::refused) << target;
  for (const char* target : {"/", "/v1", "/fn", "/docs", "*"}) EXPECT_EQ(access(target), CallAccess::unknown) << target;
}

TEST(Route, TargetsThatAreNoneAreRefused) {
  EXPECT_FALSE(route("localhost", "").ok());
  EXPECT_FALSE(route("localhost", "fn/qa").ok());
  EXPECT_FALSE(route("localhost", "/a\x01").ok());
  EXPECT_FALSE(route("localhost", "/a#b").ok());
}

TEST(LoopbackHost, OnlyNamesOfThisMachine) {
  EXPECT_TRUE(is_loopback_host("localhost:8080"));
  EXPECT_TRUE(is_loopback_host("LOCALHOST"));
  EXPECT_TRUE(is_loopback_host("127.0.0.1:1"));
  EXPECT_TRUE(is_loopback_host("[::1]:8080"));
  EXPECT_FALSE(is_loopback_host("evil.example"));
  EXPECT_FALSE(is_loopback_host("127.0.0.1.evil.example"));
  EXPECT_FALSE(is_loopback_host("127.evil.a.b"));
  EXPECT_FALSE(is_loopback_host(""));
}

TEST(Route, FeastsPathsAreTheFeatureStores) {
  for (const char* target : {"/get-online-features", "/push", "/write-to-online-store?x=1", "/health"})
    EXPECT_EQ(route("localhost", target)->kind, RouteKind::features) << target;
  for (const char* target : {"/get-online-features/", "/pushes", "/healthy"})
    EXPECT_EQ(route("localhost", target)->kind, RouteKind::unknown) << target;
  EXPECT_EQ(route("app.localhost", "/push")->kind, RouteKind::function);
}

}  // namespace
}  // namespace thaw::gateway
