#include "terminal.h"

#include <gtest/gtest.h>

#include "text.h"

namespace thaw::cli {
namespace {

TEST(Table, AlignsColumnsByCodePointsAndLeavesNoTrailingSpace) {
  const Terminal plain{{}};
  EXPECT_EQ(format_table({{"NAME", "STATE"}, {"é", "Active"}, {"longer-name", ""}}, plain),
            "NAME         STATE\n"
            "é            Active\n"
            "longer-name\n");
}

TEST(Table, CellsCannotSteerTheTerminal) {
  const Terminal plain{{}};
  EXPECT_EQ(format_table({{"A"}, {"\033[2J"}}, plain), "A\n?[2J\n");
}

TEST(Colour, OnlyOnATerminalThatWantsIt) {
  EXPECT_EQ(Terminal({.out_is_terminal = true}).out(Color::red, "x"), "\033[31mx\033[0m");
  EXPECT_EQ(Terminal({.out_is_terminal = true}).err(Color::red, "x"), "x");
  EXPECT_EQ(Terminal({.color_wanted = false, .out_is_terminal = true}).out(Color::red, "x"), "x");
}

TEST(Progress, ShowsShareBytesAndRateAndFitsTheLine) {
  using std::chrono::milliseconds;
  EXPECT_EQ(format_progress("Uploading", 50'000'000, 100'000'000, milliseconds(1000), 100),
            "Uploading  [====================>                   ]  50 %  50 MB of 100 MB  50 MB/s  2 s left");
  for (const std::size_t columns : {1, 20, 40, 60, 80, 200}) {
    const std::string line = format_progress("Uploading", 1, 3, milliseconds(10), columns);
    EXPECT_LE(display_width(line), columns);
  }
  // An empty package is complete.
  EXPECT_NE(format_progress("Uploading", 0, 0, milliseconds(0), 80).find("100 %"), std::string::npos);
}

}  // namespace
}  // namespace thaw::cli
