#include "model/compact_json.h"

#include <gtest/gtest.h>

namespace thaw::model {
namespace {

TEST(CompactJson, KeepsNumbersAndTextsAsTheyWereWritten) {
  EXPECT_EQ(compact_json("{ \"a b\" :\n [ 1.10 , 12345678901234567890123 ],\t\"c\": \" \\\" d \\\\\" }\r\n"),
            "{\"a b\":[1.10,12345678901234567890123],\"c\":\" \\\" d \\\\\"}");
  EXPECT_EQ(compact_json(" true "), "true");
}

}  // namespace
}  // namespace thaw::model
