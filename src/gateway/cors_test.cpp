#include "gateway/cors.h"

#include <gtest/gtest.h>

namespace thaw::gateway {
namespace {

http::RequestHead request(std::string_view method, std::initializer_list<http::Field> fields) {
  http::RequestHead head;
  head.method = method;
  for (const auto& [name, value] : fields) head.fields.add(name, value);
  return head;
}

TEST(Cors, AnOriginThatMayCallIsTold) {
  const model::Cors cors{.allow_credentials = true,
                         .allow_origins = {"https://a.example", "https://b.example"},
                         .expose_headers = {"X-One", "X-Two"}};
  EXPECT_EQ(cors_fields(cors, request("GET", {{"Origin", "https://b.example"}})),
            "Vary: Origin\r\nAccess-Control-Allow-Origin: https://b.example\r\n"
            "Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: X-One,X-Two\r\n");
  EXPECT_EQ(cors_fields(cors, request("GET", {{"Origin", "https://c.example"}})), "Vary: Origin\r\n");
  EXPECT_EQ(cors_fields(cors, request("GET", {})), "Vary: Origin\r\n");
}

TEST(Cors, AnyOriginIsAStarUnlessThereAreCredentials) {
  model::Cors cors{.allow_origins = {"*"}};
  const auto head = request("GET", {{"Origin", "https://a.example"}});
  EXPECT_EQ(cors_fields(cors, head), "Access-Control-Allow-Origin: *\r\n");
  cors.allow_credentials = true;
  EXPECT_EQ(cors_fields(cors, head),
            "Vary: Origin\r\nAccess-Control-Allow-Origin: https://a.example\r\n"
            "Access-Control-Allow-Credentials: true\r\n");
}

TEST(Cors, APreflightIsToldMethodsHeadersAndForHowLong) {
  model::Cors cors{
      .allow_headers = {"X-A", "X-B"}, .allow_methods = {"GET", "POST"}, .allow_origins = {"*"}, .max_age_s = 60};
  const auto head = request("OPTIONS", {{"Origin", "https://a.example"},
                                        {"Access-Control-Request-Method", "PUT"},
                                        {"Access-Control-Request-Headers", "x-c"}});
  EXPECT_TRUE(is_preflight(head));
  EXPECT_EQ(cors_fields(cors, head),
            "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET,POST\r\n"
            "Access-Control-Allow-Headers: X-A,X-B\r\nAccess-Control-Max-Age: 60\r\n");
  cors = {.allow_credentials = true, .allow_headers = {"*"}, .allow_methods = {"*"}, .allow_origins = {"*"}};
  EXPECT_EQ(cors_fields(cors, head),
            "Vary: Origin\r\nAccess-Control-Allow-Origin: https://a.example\r\n"
            "Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: PUT\r\n"
            "Access-Control-Allow-Headers: x-c\r\n");
}

TEST(Cors, OptionsAloneIsNoPreflight) {
  EXPECT_FALSE(is_preflight(request("OPTIONS", {{"Origin", "https://a.example"}})));
  EXPECT_FALSE(is_preflight(request("OPTIONS", {{"Access-Control-Request-Method", "PUT"}})));
  EXPECT_FALSE(
      is_preflight(request("GET", {{"Origin", "https://a.example"}, {"Access-Control-Request-Method", "PUT"}})));
}

}  // namespace
}  // namespace thaw::gateway
