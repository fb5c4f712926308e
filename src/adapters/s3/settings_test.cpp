#include "adapters/s3/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace thaw::adapters {
namespace {

using testing::HasSubstr;

class Settings : public testing::Test {
 protected:
  Settings() {
    std::string path = (std::filesystem::temp_directory_path() / "thaw-aws-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) std::abort();
    home_ = path;
    std::filesystem::create_directory(home_ + "/.aws");
  }
  ~Settings() override {
    std::error_code ignored;
    std::filesystem::remove_all(home_, ignored);
  }
  void write(const std::string& name, const std::string& text) { std::ofstream(home_ + "/.aws/" + name) << text; }
  Result<S3Settings> load(Environment environment) {
    environment.emplace("HOME", home_);
    return load_s3_settings(environment);
  }

  std::string home_;
};

TEST_F(Settings, TheEnvironmentWinsOverTheFiles) {
  write("credentials", "[default]\naws_access_key_id = file\naws_secret_access_key = secret\n");
  const auto of_file = load({});
  ASSERT_TRUE(of_file.ok()) << of_file.error().message;
  EXPECT_EQ(of_file->credentials->access_key, "file");
  const auto given = load({{"AWS_ACCESS_KEY_ID", "env"}, {"AWS_SECRET_ACCESS_KEY", "s"}, {"AWS_SESSION_TOKEN", "t"}});
  EXPECT_EQ(given->credentials->access_key, "env");
  EXPECT_EQ(given->credentials->session_token, "t");
}

TEST_F(Settings, AProfileTakesWhatBothFilesSayOfIt) {
  write("credentials",
        "# comment\n[work]\naws_access_key_id=id\naws_secret_access_key=se=cr/et+\naws_session_token = t\n");
  write("config",
        "[default]\nregion = eu-north-1\n[profile work]\nregion = eu-west-1\nendpoint_url = https://s3.example.org/\n"
        "s3 =\n  addressing_style = path\n");
  const auto settings = load({{"AWS_PROFILE", "work"}});
  ASSERT_TRUE(settings.ok()) << settings.error().message;
  EXPECT_EQ(settings->credentials->secret_key, "se=cr/et+");
  EXPECT_EQ(settings->credentials->session_token, "t");
  EXPECT_EQ(settings->region, "eu-west-1");
  EXPECT_EQ(settings->endpoint, "https://s3.example.org");
  EXPECT_TRUE(settings->path_style);
  EXPECT_EQ(load({})->region, "eu-north-1");
}

TEST_F(Settings, PathStyleWhereNoBucketCanStandBeforeTheHost) {
  EXPECT_TRUE(load({{"AWS_ENDPOINT_URL", "http://127.0.0.1:9000"}})->path_style);
  EXPECT_TRUE(load({{"AWS_ENDPOINT_URL", "http://minio:9000"}})->path_style);
  EXPECT_TRUE(load({{"AWS_ENDPOINT_URL", "http://[::1]:9000"}})->path_style);
  EXPECT_FALSE(load({{"AWS_ENDPOINT_URL", "https://s3.example.org"}})->path_style);
  EXPECT_FALSE(load({})->path_style);
  EXPECT_TRUE(load({{"AWS_ENDPOINT_URL", "https://s3.example.org"}, {"THAW_S3_PATH_STYLE", "1"}})->path_style);
  EXPECT_EQ(load({{"AWS_ENDPOINT_URL", "https://a.b"}, {"AWS_ENDPOINT_URL_S3", "https://c.d"}})->endpoint,
            "https://c.d");
}

TEST_F(Settings, ContainersAndInstancesAreAskedOnlyWithoutKeys) {
  EXPECT_EQ(load({{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x"}})->container_url, "http://169.254.170.2/v2/x");
  EXPECT_EQ(load({})->metadata_url, "http://169.254.169.254");
  EXPECT_EQ(load({{"AWS_EC2_METADATA_DISABLED", "TRUE"}})->metadata_url, "");
}

TEST_F(Settings, EachErrorNamesTheVariableOrTheLine) {
  EXPECT_THAT(load({{"AWS_ACCESS_KEY_ID", "x"}}).error().message, HasSubstr("AWS_SECRET_ACCESS_KEY"));
  EXPECT_THAT(load({{"AWS_PROFILE", "none"}}).error().message, HasSubstr("'none'"));
  EXPECT_THAT(load({{"AWS_REGION", "eu west"}}).error().message, HasSubstr("AWS_REGION"));
  for (const char* endpoint : {"s3.example.org", "ftp://x", "http://", "http://x/path", "http://u@x"})
    EXPECT_THAT(load({{"AWS_ENDPOINT_URL", endpoint}}).error().message, HasSubstr("AWS_ENDPOINT_URL")) << endpoint;
  EXPECT_THAT(load({{"THAW_S3_PATH_STYLE", "yes"}}).error().message, HasSubstr("THAW_S3_PATH_STYLE"));
  write("credentials", "[default\n");
  EXPECT_THAT(load({}).error().message, HasSubstr("credentials line 1"));
  write("credentials", "[default]\n\nnonsense\n");
  EXPECT_THAT(load({}).error().message, HasSubstr("credentials line 3"));
}

}  // namespace
}  // namespace thaw::adapters
