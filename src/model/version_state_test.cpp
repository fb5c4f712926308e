#include "model/version_state.h"

#include <gtest/gtest.h>

namespace thaw::model {
namespace {

TEST(VersionState, StoredFormReadsBack) {
  const VersionState states[] = {
      {},
      {.phase = VersionPhase::pending},
      {.phase = VersionPhase::failed, .reason_code = "FunctionError", .reason = "POST /ask answered 500"},
      {.phase = VersionPhase::active, .no_snapshot = "the disk is full", .retry = true},
      {.phase = VersionPhase::active, .snapshot_made_at = "2026-01-31T12:00:00.000+0000"},
  };
  for (const VersionState& state : states) {
    const auto again = version_state_from_json(to_json(state));
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(*again, state);
  }
}

TEST(VersionState, ReasonsAreBoundedAndPlain) {
  const auto again = version_state_from_json(to_json({.reason = std::string(100000, 'x') + "\xff\n"}));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->reason, std::string(2048, 'x'));
  EXPECT_EQ(version_state_from_json(to_json({.reason = "a\xff\nb"}))->reason, "a??b");
}

TEST(VersionState, DamagedOrNewerFormIsRefused) {
  const auto kind_of = [](std::string_view text) { return version_state_from_json(text).error().kind; };
  const std::string good = to_json(VersionState{});
  EXPECT_EQ(kind_of(""), ErrorKind::corrupt);
  EXPECT_EQ(kind_of(good.substr(0, good.size() / 2)), ErrorKind::corrupt);
  EXPECT_EQ(kind_of("{\"format\":1}"), ErrorKind::corrupt);
  std::string newer = good;
  newer.replace(newer.find("\"format\":1"), 10, "\"format\":2");
  EXPECT_EQ(kind_of(newer), ErrorKind::unsupported);
  std::string odd = good;
  odd.replace(odd.find("Active"), 6, "Frozen");
  EXPECT_EQ(kind_of(odd), ErrorKind::corrupt);
}

}  // namespace
}  // namespace thaw::model
