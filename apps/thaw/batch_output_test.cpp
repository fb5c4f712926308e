#include "batch_output.h"

#include <gtest/gtest.h>

namespace thaw::cli {
namespace {

TEST(BatchLine, SaysWhatBecameOfAnInput) {
  BatchOutcome outcome;
  outcome.id = "a \"b\"\n";
  outcome.duration_ms = 12.34;
  EXPECT_EQ(line_of(outcome), "{\"id\":\"a \\\"b\\\"\\n\",\"status\":null,\"duration_ms\":12.3}\n");
  outcome.status = 200;
  outcome.kind = AnswerKind::bytes;
  outcome.answer = std::string("\0\xff", 2);
  outcome.error = "no";
  EXPECT_EQ(
      line_of(outcome),
      "{\"id\":\"a \\\"b\\\"\\n\",\"status\":200,\"duration_ms\":12.3,\"output_base64\":\"AP8=\",\"error\":\"no\"}\n");
}

TEST(FinishedIds, AreFoundOnceSealed) {
  FinishedIds ids;
  for (int i = 0; i < 1000; i += 2) ASSERT_TRUE(ids.add(std::to_string(i)).ok());
  ids.seal();
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(ids.contains(std::to_string(i)), i % 2 == 0) << i;
  EXPECT_EQ(ids.size(), 500U);
}

}  // namespace
}  // namespace thaw::cli
