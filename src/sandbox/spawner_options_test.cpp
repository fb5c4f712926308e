#include "sandbox/spawner_options.h"

#include <gtest/gtest.h>

namespace thaw::sandbox {
namespace {

TEST(SpawnerOptions, ArgumentsComeBackAsTheyWereGiven) {
  SpawnerOptions options;
  options.spawner_path = "/x/thaw-spawner";
  options.stub_path = "/x/y=z/thaw-stub";
  options.egress_program = "/x/slirp";
  options.engine_folder = "/x/engine";
  options.cgroup_name = "thaw-0123456789ab";
  options.uid_base = 200000;
  options.slots_max = 17;
  options.prepared = 3;
  options.freeze_s = 7;
  options.log_level = "debug";
  const auto parsed = parse_arguments(to_arguments(options, 9));
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->socket_fd, 9);
  EXPECT_EQ(to_arguments(parsed->options, 9), to_arguments(options, 9));
}

TEST(SpawnerOptions, WrongOnesAreNamed) {
  const std::vector<std::string> good = {"thaw-spawner", "--socket-fd=3", "--stub=/s", "--cgroup-name=thaw-1"};
  ASSERT_TRUE(parse_arguments(good).ok());
  for (const char* wrong :
       {"--socket-fd=1", "--socket-fd=x", "--uid-base=0", "--slots-max=0", "--slots-max=100000", "--cgroup-name=../x",
        "--cgroup-name=", "--unknown", "--prepared=-1", "--egress-program=x", "extra"}) {
    auto arguments = good;
    arguments.emplace_back(wrong);
    const auto parsed = parse_arguments(arguments);
    ASSERT_FALSE(parsed.ok()) << wrong;
    EXPECT_NE(parsed.error().message.find(wrong), std::string::npos) << parsed.error().message;
  }
  EXPECT_FALSE(parse_arguments({"thaw-spawner"}).ok());
}

TEST(SpawnerOptions, DataFoldersHaveTheirOwnGroups) {
  EXPECT_EQ(cgroup_name_for("/var/lib/thaw"), cgroup_name_for("/var/lib/../lib/thaw"));
  EXPECT_NE(cgroup_name_for("/var/lib/thaw"), cgroup_name_for("/var/lib/thaw2"));
  EXPECT_EQ(cgroup_name_for("/var/lib/thaw").size(), 17u);
}

TEST(SpawnerOptions, DaemonsHaveTheirOwnUserIds) {
  EXPECT_NE(uid_base_for("thaw-1"), uid_base_for("thaw-2"));
  EXPECT_GE(uid_base_for("thaw-1"), kUidFirst);
  EXPECT_EQ(parse_arguments({"thaw-spawner", "--socket-fd=3", "--stub=/s", "--cgroup-name=thaw-1"})->options.uid_base,
            uid_base_for("thaw-1"));
}

}  // namespace
}  // namespace thaw::sandbox
