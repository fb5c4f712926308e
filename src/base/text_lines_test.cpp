#include "base/text_lines.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "base/folder_for_test.h"
#include "base/sys.h"

namespace thaw {
namespace {

// Number, offset, text and marks of every line.
std::string lines_of(const std::string& text, std::size_t line_bytes_max) {
  const FolderForTest folder;
  const std::string path = folder.path() + "/lines";
  write_for_test(path, text);
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
  EXPECT_EQ(lines_of("abcdef\nb\n", 3), "1@0:abcdef long|2@7:b|");
  EXPECT_EQ(lines_of(great, 1000), "1@0:" + cut + " torn long|");
  EXPECT_EQ(lines_of(great + "\n", 1 << 20), "1@0:" + great + "|");
}

}  // namespace
}  // namespace thaw
