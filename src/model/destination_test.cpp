#include "model/destination.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thaw::model {
namespace {

using Kind = Destination::Kind;

TEST(Destination, EachKindIsTakenApart) {
  const std::pair<const char*, Destination> cases[] = {
      {"arn:aws:lambda:us-east-1:000000000000:function:next", {.kind = Kind::function, .place = "next"}},
      {"arn:aws-cn:lambda:r:1:function:My_f:live", {.kind = Kind::function, .place = "My_f", .qualifier = "live"}},
      {"arn:aws:lambda:r:1:function:f:$LATEST", {.kind = Kind::function, .place = "f", .qualifier = "$LATEST"}},
      {"arn:aws:s3:::failed.events", {.kind = Kind::objects, .place = "s3://failed.events/"}},
      {"s3://bucket", {.kind = Kind::objects, .place = "s3://bucket/"}},
      {"s3://bucket/a/b", {.kind = Kind::objects, .place = "s3://bucket/a/b/"}},
      {"file:failed", {.kind = Kind::objects, .place = "file:failed/"}},
      {"file:/srv/failed/", {.kind = Kind::objects, .place = "file:/srv/failed/"}},
      {"http://127.0.0.1:9000/x?y", {.kind = Kind::http, .place = "http://127.0.0.1:9000/x?y"}},
      {"https://example.com", {.kind = Kind::http, .place = "https://example.com"}},
  };
  for (const auto& [text, expected] : cases) {
    const auto parsed = parse_destination(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(*parsed, expected) << text;
  }
}

TEST(Destination, OthersAreRefusedWithWhatIsPossible) {
  for (const std::string& text :
       {std::string(), std::string("there"), std::string("arn:aws:sqs:us-east-1:000000000000:queue"),
        std::string("arn:aws:lambda:r:1:function:"), std::string("arn:aws:lambda:r:1:function:f:"),
        std::string("arn:aws:lambda:r:1:function:a/b"), std::string("arn:aws:s3:r::bucket"), std::string("arn:"),
        std::string("s3://"), std::string("s3:///key"), std::string("file:"), std::string("http://"),
        std::string("http:///path"), std::string("ftp://host/"), std::string("http://host/a b"),
        std::string("http://host/\n"), "http://host/" + std::string(kDestinationBytesMax, 'x')}) {
    const auto parsed = parse_destination(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.error().kind, ErrorKind::invalid_argument);
    EXPECT_THAT(parsed.error().message, testing::StartsWith("must be an ARN of a function"));
  }
}

}  // namespace
}  // namespace thaw::model
