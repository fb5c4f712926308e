#include "base/base64.h"

#include <gtest/gtest.h>

namespace thaw {
namespace {

// RFC 4648, section 10.
TEST(Base64, TheStandardsVectors) {
  const std::pair<std::string, std::string> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"},
                                                         {std::string("\x00\xff\xfe", 3), "AP/+"}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(base64_encoded(bytes), text);
    EXPECT_EQ(base64_decoded(text), bytes);
  }
}

TEST(Base64, PaddingMayBeLeftOutAndOthersAreRefused) {
  EXPECT_EQ(base64_decoded("Zm8"), "fo");
  for (const char* text : {"Z", "Zm9vY", "Zm=v", "Zm9v====", "Zm9 v", "Zm9-", "Zg==Zg=="})
    EXPECT_EQ(base64_decoded(text), std::nullopt) << text;
}

}  // namespace
}  // namespace thaw
