#include "text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thaw::cli {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(EditDistance, CountsInsertionsDeletionsReplacementsAndSwaps) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("listen", "lisen"), 1u);
  EXPECT_EQ(edit_distance("listen", "listne"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("ABC", "abc"), 0u);
}

TEST(EditDistance, IsBoundedForLongWords) {
  const std::string long_word(1000000, 'a');
  EXPECT_EQ(edit_distance(long_word, long_word + "b"), 0u);
}

TEST(Nearest, GivesTheNearestFirstAndNothingFar) {
  const std::vector<std::string> names = {"question", "questions-2", "weather", "questoin"};
  EXPECT_THAT(nearest("questoin", names, 2), ElementsAre("questoin", "question"));
  EXPECT_THAT(nearest("zzzzzz", names, 3), IsEmpty());
  EXPECT_EQ(did_you_mean("wether", names), "; did you mean weather?");
  EXPECT_EQ(did_you_mean("zzzzzz", names), "");
}

TEST(PercentEncode, EncodesAllButUnreserved) {
  EXPECT_EQ(percent_encode("a-b_c.~ /é\n"), "a-b_c.~%20%2F%C3%A9%0A");
  EXPECT_EQ(percent_encode_path("/a b/%41?%zz"), "/a%20b/%41%3F%25zz");
}

TEST(Human, BytesAndTimes) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1000), "1.0 kB");
  EXPECT_EQ(human_bytes(999'999), "1.0 MB");
  EXPECT_EQ(human_bytes(27'340'000), "27 MB");
  EXPECT_EQ(human_seconds(119), "119 s");
  EXPECT_EQ(human_seconds(7200), "2 h");
}

TEST(Quote, ForTomlAndShell) {
  EXPECT_EQ(toml_quote("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000Ad\"");
  EXPECT_EQ(shell_quote("plain-word.1"), "plain-word.1");
  EXPECT_EQ(shell_quote("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_quote(""), "''");
}

TEST(Printable, TakesControlCharactersAway) {
  EXPECT_EQ(printable("a\033[31mb\r\nc\td\x7f"), "a?[31mb?\nc\td?");
  EXPECT_EQ(printable("é"), "é");
  EXPECT_EQ(printable("a\xc2\x9b"
                      "31mb\xc2\xa0\xc2"),
            "a??31mb\xc2\xa0\xc2");
}

TEST(Utf8, KnowsValidFromInvalid) {
  EXPECT_TRUE(is_valid_utf8("é ☃ 😀"));
  EXPECT_TRUE(is_valid_utf8(""));
  for (const char* bad : {"\x80", "\xC3", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE0\x80\x80", "\xFF"}) {
    EXPECT_FALSE(is_valid_utf8(bad));
  }
}

TEST(ParseCount, TakesWholeNumbersOnly) {
  EXPECT_EQ(parse_count("18446744073709551615"), 18446744073709551615ULL);
  for (const char* bad : {"", " 1", "1 ", "-1", "+1", "1.0", "18446744073709551616", "0x1"}) {
    EXPECT_FALSE(parse_count(bad)) << bad;
  }
}

}  // namespace
}  // namespace thaw::cli
