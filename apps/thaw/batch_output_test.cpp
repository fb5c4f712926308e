#include "batch_output.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/folder_for_test.h"
#include "base/sys.h"
#include "text_lines.h"

namespace thaw::cli {
namespace {

TEST(BatchLine, KeepsNumbersAndTextsAsTheyWereWritten) {
  EXPECT_EQ(without_white_space("{ \"a b\" :\n [ 1.10 , 12345678901234567890123 ],\t\"c\": \" \\\" d \\\\\" }\r\n"),
            "{\"a b\":[1.10,12345678901234567890123],\"c\":\" \\\" d \\\\\"}");
}

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

// Number, offset, text and marks of every line.
std::string lines_of(const std::string& text, std::size_t line_bytes_max) {
  const FolderForTest folder;
  const std::string path = folder.path() + "/lines";
  std::ofstream(path) << text;
  auto file = sys::open(path, O_RDONLY);
  TextLines lines(std::move(*file), line_bytes_max);
  std::string out;
  while (true) {
    const auto line = lines.next();
    if (!line.ok()) return "error: " + line.error().message;
    if (!*line) break;
    out += std::to_string((*line)->number) + "@" + std::to_string((*line)->offset) + ":" + std::string((*line)->text) +
           ((*line)->ended ? "" : " torn") + ((*line)->too_long ? " long" : "") + "|";
  }
  EXPECT_EQ(lines.bytes_read(), text.size());
  return out;
}

TEST(TextLines, GivesEachLineWithItsPlace) {
  EXPECT_EQ(lines_of("", 10), "");
  EXPECT_EQ(lines_of("a\n\nbc\r\nd", 10), "1@0:a|2@2:|3@3:bc|4@7:d torn|");
  EXPECT_EQ(lines_of("a\n", 10), "1@0:a|");
}

TEST(TextLines, PassesOverALineThatIsTooLong) {
  // Longer than what is read at once.
  const std::string great(1 << 20, 'x');
  const std::string cut(256, 'x');
  EXPECT_EQ(lines_of("a\n" + great + "\nb\n", 1000), "1@0:a|2@2:" + cut + " long|3@1048579:b|");
  EXPECT_EQ(lines_of(great, 1000), "1@0:" + cut + " torn long|");
  EXPECT_EQ(lines_of(great + "\n", 1 << 20), "1@0:" + great + "|");
}

}  // namespace
}  // namespace thaw::cli
