#include "gateway/model_finder.h"

#include <gtest/gtest.h>

namespace thaw::gateway {
namespace {

Result<std::string> found(std::string_view body, std::size_t piece_bytes = 1) {
  ModelFinder finder;
  while (!body.empty()) {
    if (Status taken = finder.write(body.substr(0, piece_bytes)); !taken.ok()) return taken.error();
    body.remove_prefix(std::min(piece_bytes, body.size()));
  }
  return finder.finish();
}

// The same whether the body comes whole or byte by byte.
std::string name_of(std::string_view body) {
  const auto whole = found(body, body.size() + 1);
  const auto cut = found(body, 1);
  EXPECT_EQ(whole.ok(), cut.ok()) << body;
  if (!whole.ok()) return "error " + std::string(to_string(whole.error().kind)) + " " + whole.error().code;
  EXPECT_EQ(*whole, *cut);
  return *whole;
}

TEST(ModelFinder, FindsTheTopLevelMemberAlone) {
  EXPECT_EQ(name_of(R"({"model":"chat"})"), "chat");
  EXPECT_EQ(name_of(R"( {"messages":[{"model":"inner"}],"x":{"model":"deep"} , "model" : "chat:live" } )"),
            "chat:live");
  EXPECT_EQ(name_of(R"({"model":"chat","tools":[{"model":"inner"}]})"), "chat");
  EXPECT_EQ(name_of(R"({"Model":"other","models":"more","mode":"less","model":"chat"})"), "chat");
  EXPECT_EQ(name_of(R"({"x":"model","model":"chat"})"), "chat");
}

TEST(ModelFinder, EscapesCountAsWhatTheyStandFor) {
  EXPECT_EQ(name_of(R"({"\u006dode\u006c":"ch\u0061t\n\ud83d\ude00"})"), "chat\n\xf0\x9f\x98\x80");
  EXPECT_EQ(name_of(R"({"model\u0000":"other","model":"chat"})"), "chat");
}

TEST(ModelFinder, TheLastOfSeveralHolds) {
  EXPECT_EQ(name_of(R"({"model":"first","model":"last"})"), "last");
  EXPECT_EQ(name_of(R"({"model":"first","model":5})"), "error InvalidArgument invalid_type");
  EXPECT_EQ(name_of(R"({"model":{"model":"inner"},"model":"last"})"), "last");
}

TEST(ModelFinder, SaysWhatIsWrongWithTheModel) {
  EXPECT_EQ(name_of("{}"), "error InvalidArgument missing_required_parameter");
  EXPECT_EQ(name_of(R"({"model":""})"), "error InvalidArgument missing_required_parameter");
  for (const char* value : {"null", "true", "5", "5.5", "-1e400", "18446744073709551615", "[\"chat\"]", "{}", "[]"}) {
    EXPECT_EQ(name_of("{\"model\":" + std::string(value) + "}"), "error InvalidArgument invalid_type") << value;
  }
  EXPECT_EQ(name_of("{\"model\":\"" + std::string(kModelNameBytesMax, 'a') + "\"}").size(), kModelNameBytesMax);
  EXPECT_EQ(name_of("{\"model\":\"" + std::string(kModelNameBytesMax + 1, 'a') + "\"}"),
            "error NotFound model_not_found");
}

TEST(ModelFinder, RefusesWhatIsNoJsonObject) {
  for (const char* body : {"", " ", "{", "{\"model\":\"chat\"", "{\"model\":\"chat\"} x", "{\"model\":\"chat\"}{}",
                           "[{\"model\":\"chat\"}]", "\"model\"", "5", "null", "model=chat", "{'model':'chat'}",
                           "{\"model\":\"chat\",}", "{\"model\":\"\xff\"}", "{\"model\":\"a\nb\"}", "// x\n{}"}) {
    EXPECT_EQ(name_of(body), "error InvalidArgument ") << body;
  }
}

TEST(ModelFinder, NestingIsBounded) {
  const auto nested = [](std::size_t levels) {
    return "{\"x\":" + std::string(levels, '[') + std::string(levels, ']') + ",\"model\":\"chat\"}";
  };
  EXPECT_EQ(name_of(nested(kJsonDepthMax - 1)), "chat");
  EXPECT_EQ(name_of(nested(kJsonDepthMax)), "error InvalidArgument ");
  EXPECT_EQ(name_of(nested(1000000)), "error InvalidArgument ");
}

}  // namespace
}  // namespace thaw::gateway
