#include "store/model_uri.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thaw::store {
namespace {

using testing::HasSubstr;

TEST(ModelUri, PartsOfAnS3Address) {
  const auto uri = parse_model_uri("s3://my-bucket/a b/model.gguf");
  ASSERT_TRUE(uri.ok()) << uri.error().message;
  EXPECT_EQ(uri->scheme, ModelScheme::s3);
  EXPECT_EQ(uri->place, "my-bucket");
  EXPECT_EQ(uri->key, "a b/model.gguf");
  EXPECT_EQ(uri->file_name(), "model.gguf");
  EXPECT_FALSE(uri->folder);
  EXPECT_TRUE(parse_model_uri("s3://my-bucket/folder/")->folder);
  EXPECT_TRUE(parse_model_uri("s3://my-bucket/")->folder);
}

TEST(ModelUri, PartsOfAWebAddress) {
  const auto uri = parse_model_uri("https://example.org:8443/a/m%20x.gguf?sig=a/b");
  ASSERT_TRUE(uri.ok()) << uri.error().message;
  EXPECT_EQ(uri->place, "https://example.org:8443");
  EXPECT_EQ(uri->key, "a/m%20x.gguf?sig=a/b");
  EXPECT_EQ(uri->file_name(), "m x.gguf");
  EXPECT_TRUE(parse_model_uri("http://127.0.0.1:80/m").ok());
  EXPECT_TRUE(parse_model_uri("http://[::1]:80/m").ok());
}

TEST(ModelUri, PartsOfAHubAddress) {
  const auto uri = parse_model_uri("hf:owner/repo.v1@a1b2/sub/model.gguf");
  ASSERT_TRUE(uri.ok()) << uri.error().message;
  EXPECT_EQ(uri->place, "owner/repo.v1");
  EXPECT_EQ(uri->revision, "a1b2");
  EXPECT_EQ(uri->key, "sub/model.gguf");
  EXPECT_EQ(parse_model_uri("hf:owner/repo/m")->revision, "main");
  EXPECT_TRUE(parse_model_uri("hf:owner/repo/")->folder);
}

TEST(ModelUri, PartsOfFilesAndPackages) {
  EXPECT_EQ(parse_model_uri("file:a/model.gguf")->key, "a/model.gguf");
  EXPECT_EQ(parse_model_uri("file:/srv/model.gguf")->key, "/srv/model.gguf");
  const std::string sha(64, 'a');
  EXPECT_EQ(parse_model_uri("package:" + sha + "/model.gguf")->place, sha);
}

TEST(ModelUri, EachErrorSaysWhatIsWrong) {
  const std::pair<std::string, const char*> wrong[] = {
      {"", "is empty"},
      {"model.gguf", "none of s3://"},
      {"ftp://host/x", "none of s3://"},
      {"s3://bucket", "the key is missing"},
      {"s3://b/x", "no bucket's name"},
      {"s3://bu/../cket/x", "no bucket's name"},
      {"s3://bucket/..", "cannot be a file's name"},
      {"https://user:pass@host/x", "user's name or password"},
      {"https://host", "the path is missing"},
      {"https://host/", "the path is missing"},
      {"https://host/a/", "no list of files"},
      {"https://host/a b", "percent-encoded"},
      {"https://host/a%2f..", "cannot be a file's name"},
      {"https://host:http/x", "port is no number"},
      {"https:///x", "host's name"},
      {"https://host/x#y", "'#'"},
      {"http://example.org/x", "loopback alone"},
      {"hf:owner/repo", "write hf:OWNER/REPO/FILE"},
      {"hf:../../x", "OWNER/REPO is wrong"},
      {"hf:owner/repo@/x", "revision"},
      {"hf:owner/repo/../x", "'.' or '..'"},
      {"file:", "path is missing"},
      {"file:../x", "'..'"},
      {"file://host/x", "without '//'"},
      {"package:abc/x", "package:CODE_SHA256/PATH"},
      {"s3://bucket/a\nb", "control character"},
      {"s3://bucket/\xff", "UTF-8"},
      {"s3://bucket/" + std::string(3000, 'a'), "longer than"},
      {"file:" + std::string(300, 'a'), "too long"},
  };
  for (const auto& [text, why] : wrong) {
    const auto uri = parse_model_uri(text);
    ASSERT_FALSE(uri.ok()) << text;
    EXPECT_EQ(uri.error().kind, ErrorKind::invalid_argument) << text;
    EXPECT_THAT(uri.error().message, HasSubstr(why)) << text;
  }
}

TEST(ModelUri, SafePathsStayWhereTheyArePut) {
  for (const char* path : {"a", "a/b", "a.b/..c"}) EXPECT_TRUE(is_safe_path(path)) << path;
  for (const char* path : {"", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b"})
    EXPECT_FALSE(is_safe_path(path)) << path;
  EXPECT_FALSE(is_safe_path(std::string_view("a\0b", 3)));
  std::string deep = "a";
  for (int i = 1; i < 16; ++i) deep += "/a";
  EXPECT_TRUE(is_safe_path(deep));
  EXPECT_FALSE(is_safe_path(deep + "/a"));
}

}  // namespace
}  // namespace thaw::store
