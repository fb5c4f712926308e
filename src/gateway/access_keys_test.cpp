#include "gateway/access_keys.h"

#include <gtest/gtest.h>

namespace thaw::gateway {
namespace {

TEST(AccessKeys, AreReadAsAwssToolsHaveThem) {
  const auto keys = parse_credentials(
      "# mine\r\n[default]\r\naws_access_key_id = AKIA1\r\naws_secret_access_key=s/+=1\r\n\r\n"
      "[other]\n  region = eu-west-1\naws_session_token = t==\naws_secret_access_key = two\naws_access_key_id=ASIA2\n"
      "[empty]\n; nothing\n");
  ASSERT_TRUE(keys.ok()) << keys.error().message;
  ASSERT_EQ(keys->size(), 2U);
  EXPECT_EQ(keys->at("AKIA1").secret, "s/+=1");
  EXPECT_EQ(keys->at("AKIA1").session_token, "");
  EXPECT_EQ(keys->at("ASIA2").secret, "two");
  EXPECT_EQ(keys->at("ASIA2").session_token, "t==");
}

TEST(AccessKeys, MistakesNameTheirLineAndNoSecret) {
  const std::string pair = "aws_access_key_id=A\naws_secret_access_key=hidden\n";
  const std::pair<std::string, std::string> mistakes[] = {
      {"", "no access key"},
      {"[default]\n", "no access key"},
      {pair, "line 1"},
      {"[a]\naws_access_key_id=A\n[b]\n", "line 1: the section has no aws_secret_access_key"},
      {"\n[a]\naws_secret_access_key=hidden\n", "line 2: the section has no aws_access_key_id"},
      {"[a]\n" + pair + "[b]\n" + pair, "line 4"},
      {"[a\n" + pair, "line 1"},
      {"[a]\nhidden\n", "line 2"},
      {"[a]\naws_access_key_id=\naws_secret_access_key=hidden\n", "line 2"},
      {"[a]\naws_access_key_id=A\naws_secret_access_key=" + std::string(kAccessKeyBytesMax + 1, 'h') + "\n", "line 3"},
  };
  for (const auto& [text, said] : mistakes) {
    const auto keys = parse_credentials(text);
    ASSERT_FALSE(keys.ok()) << text;
    EXPECT_NE(keys.error().message.find(said), std::string::npos) << keys.error().message;
    EXPECT_EQ(keys.error().message.find("hidden"), std::string::npos);
  }
}

}  // namespace
}  // namespace thaw::gateway
