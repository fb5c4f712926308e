#include "config.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace thaw::cli {
namespace {

class Config : public testing::Test {
 protected:
  Config() {
    char folder[] = "/tmp/thaw-config-test-XXXXXX";
    folder_ = mkdtemp(folder);
    sources_.uid = 1000;
    sources_.environment["HOME"] = "/home/someone";
    sources_.default_file = folder_ + "/none.toml";
  }
  ~Config() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& text) {
    sources_.file = folder_ + "/thaw.toml";
    std::ofstream(sources_.file) << text;
  }
  std::string error() {
    const Result<ServeConfig> config = load_config(sources_);
    return config.ok() ? "no error" : config.error().message;
  }

  std::string folder_;
  ConfigSources sources_;
};

TEST_F(Config, NothingGivenMeansTheDefaults) {
  const Result<ServeConfig> config = load_config(sources_);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->listen_host, "127.0.0.1");
  EXPECT_EQ(config->listen_port, 8080);
  EXPECT_EQ(config->data, "/home/someone/.local/state/thaw");
  EXPECT_EQ(config->freeze_after_ms, 100u);
  EXPECT_GT(config->threads, 0u);
  EXPECT_GT(config->memory_max_mb, 0u);
  EXPECT_LE(config->memory_max_mb, machine_memory_mb());
  EXPECT_NE(config->user_id, 0u);
}

TEST_F(Config, FlagsWinOverEnvironmentOverFile) {
  write("drain_s = 1\nthreads = 1\nheader_max_kb = 1\n");
  sources_.environment["THAW_DRAIN_S"] = "2";
  sources_.environment["THAW_THREADS"] = "2";
  sources_.flags["drain_s"] = "3";
  const Result<ServeConfig> config = load_config(sources_);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->drain_s, 3u);
  EXPECT_EQ(config->threads, 2u);
  EXPECT_EQ(config->header_max_kb, 1u);
}

TEST_F(Config, EveryKeyIsTakenFromTheFile) {
  std::string text;
  for (const ConfigKey& key : config_keys()) {
    std::string value = std::to_string(std::max<std::uint64_t>(key.min, 7));
    if (key.type == ValueType::text) value = "\"/x\"";
    if (key.name == "listen") value = "\"[::1]:0\"";
    if (key.name == "user") value = "1234";
    if (key.name == "log_level") value = "\"warn\"";
    if (key.name == "events_queue") value = "\"nats://u:p@127.0.0.1:4222\"";
    if (key.name == "events_stream") value = "\"events-1\"";
    if (key.name == "aws_region") value = "\"eu-west-1\"";
    if (key.name == "aws_account") value = "\"123456789012\"";
    text += std::string(key.name) + " = " + value + "\n";
  }
  write(text);
  const Result<ServeConfig> config = load_config(sources_);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->listen_host, "::1");
  EXPECT_EQ(config->listen_port, 0);
  EXPECT_EQ(config->data, "/x");
  EXPECT_EQ(config->user_id, 1234u);
  EXPECT_EQ(config->threads, 7u);
  EXPECT_EQ(config->memory_max_mb, 7u);
  EXPECT_EQ(config->freeze_after_ms, 7u);
  EXPECT_EQ(config->drain_s, 7u);
  EXPECT_EQ(config->upload_max_mb, 7u);
  EXPECT_EQ(config->body_max_mb, 7u);
  EXPECT_EQ(config->header_max_kb, 7u);
  EXPECT_EQ(config->connections_max, 7u);
  EXPECT_EQ(config->concurrent_executions_max, 7u);
  EXPECT_EQ(config->log_level, "warn");
  EXPECT_EQ(config->log_file_max_mb, 7u);
  EXPECT_EQ(config->logs_max_mb, 7u);
  EXPECT_EQ(config->snapshots_max_mb, 7u);
  EXPECT_EQ(config->place.region, "eu-west-1");
  EXPECT_EQ(config->place.account, "123456789012");
  EXPECT_EQ(config->aws_credentials, "/x");
  EXPECT_EQ(config->events_queue, "nats://u:p@127.0.0.1:4222");
  EXPECT_EQ(config->events_stream, "events-1");
  EXPECT_EQ(config->events_credentials, "/x");
  EXPECT_EQ(config->events_max, 7u);
  EXPECT_EQ(config->events_max_mb, 7u);
  EXPECT_EQ(config->events_parallel_max, 7u);
  EXPECT_EQ(config->events_retry_ms, 7u);
  EXPECT_EQ(config->events_backoff_ms, 7u);
  EXPECT_EQ(config->engines, "/x");
  EXPECT_EQ(config->spawner, "/x");
}

TEST_F(Config, RegionAndAccountHaveATable) {
  write("threads = 1\n[aws]\nregion = \"eu-central-1\"\naccount = \"000000000001\"\n");
  const Result<ServeConfig> config = load_config(sources_);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->place.region, "eu-central-1");
  EXPECT_EQ(config->place.account, "000000000001");
  write("[aws]\naccount = \"1\"\n");
  EXPECT_EQ(error(), sources_.file + " line 2: aws_account: must be an account's number: 12 digits");
  write("[aws]\nregion = \"Here\"\n");
  EXPECT_TRUE(error().starts_with(sources_.file + " line 2: aws_region: must be a region's name")) << error();
  write("[aws]\nregoin = \"Here\"\n");
  EXPECT_EQ(error(), sources_.file + " line 2: unknown key 'aws_regoin'; did you mean aws_region?");
}

TEST_F(Config, AQueueThatIsNoAddressIsRefusedWithoutItsPassword) {
  for (const std::string queue : {"redis://joe:secret@host:1", "nats://", "nats://joe:secret@:4222",
                                  "nats://joe:secret@host:99999", "nats://host:4222,joe:secret@host:4223", "sqlite"}) {
    write("events_queue = \"" + queue + "\"\n");
    const std::string said = error();
    EXPECT_TRUE(said.starts_with(sources_.file + " line 1: events_queue: '")) << said;
    EXPECT_NE(said.find("is not nats://"), std::string::npos) << said;
    EXPECT_EQ(said.find("secret"), std::string::npos) << said;
  }
  write("events_queue = \"nats://[::1]:4222,tls://host\"\n");
  EXPECT_EQ(error(), "no error");
  write("events_stream = \"a.b\"\n");
  EXPECT_EQ(error(),
            sources_.file + " line 1: events_stream: a stream's name must be 1 to 64 letters, digits, - and _");
}

TEST_F(Config, UnknownKeyIsNamedWithFileLineAndNearestKey) {
  write("drain_s = 1\nfreeze_after = 5\n");
  EXPECT_EQ(error(), sources_.file + " line 2: unknown key 'freeze_after'; did you mean freeze_after_ms?");
}

TEST_F(Config, UnknownVariableIsAnErrorButServiceLinksAreNot) {
  sources_.environment["THAW_SERVICE_HOST"] = "10.0.0.1";
  sources_.environment["THAW_PORT_8080_TCP"] = "tcp://10.0.0.1:8080";
  sources_.environment["THAW_URL"] = "http://127.0.0.1:1";
  EXPECT_EQ(error(), "no error");
  sources_.environment["THAW_LISTNE"] = "127.0.0.1:1";
  EXPECT_EQ(error(), "environment variable THAW_LISTNE: unknown key; did you mean THAW_LISTEN?");
}

TEST_F(Config, OutOfRangeNamesTheLimit) {
  sources_.flags["header_max_kb"] = "4096";
  EXPECT_EQ(error(), "--header-max-kb: 4096 is outside of 1 to 1024 kB");
  sources_.flags = {{"threads", "-1"}};
  EXPECT_EQ(error(), "--threads: '-1' is not a whole number from 0 to 1024");
  sources_.flags = {{"threads", "99999999999999999999999"}};
  EXPECT_EQ(error(), "--threads: '99999999999999999999999' is not a whole number from 0 to 1024");
}

TEST_F(Config, WrongTypesAndBrokenTomlNameTheLine) {
  write("threads = \"four\"\n");
  EXPECT_EQ(error(), sources_.file + " line 1: threads: must be a whole number");
  write("\nlisten = 8080\n");
  EXPECT_EQ(error(), sources_.file + " line 2: listen: must be a string");
  write("\n\nlisten = \n");
  EXPECT_TRUE(error().starts_with(sources_.file + " line 3: ")) << error();
}

TEST_F(Config, BadAddressesAreRefused) {
  for (const char* bad : {"8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "::1:80", "[::1]", "example.org:80", ":80",
                          "127.0.0.1:65536", "[127.0.0.1]:80"}) {
    sources_.flags["listen"] = bad;
    EXPECT_TRUE(error().starts_with("--listen: ")) << bad << " gave: " << error();
  }
}

TEST_F(Config, MissingFileIsAnErrorOnlyWhenItWasNamed) {
  sources_.file = folder_ + "/absent.toml";
  EXPECT_NE(error().find("absent.toml"), std::string::npos);
  sources_.file.clear();
  EXPECT_EQ(error(), "no error");
}

TEST_F(Config, RootIsNoUserForTheServerHalf) {
  sources_.flags["user"] = "root";
  EXPECT_NE(error().find("must not be root"), std::string::npos);
  sources_.flags["user"] = "0";
  EXPECT_NE(error().find("must not be root"), std::string::npos);
  sources_.flags["user"] = "no-such-user-here";
  EXPECT_NE(error().find("no user named"), std::string::npos);
}

TEST_F(Config, DataFolderFollowsTheUser) {
  EXPECT_EQ(default_data_folder(0, {}), "/var/lib/thaw");
  EXPECT_EQ(default_data_folder(7, {{"XDG_STATE_HOME", "/s"}, {"HOME", "/h"}}), "/s/thaw");
  EXPECT_EQ(default_data_folder(7, {{"XDG_STATE_HOME", "relative"}, {"HOME", "/h"}}), "/h/.local/state/thaw");
}

}  // namespace
}  // namespace thaw::cli
