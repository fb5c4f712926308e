#include "conversation.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

namespace thaw::cli {
namespace {

std::string shown(const Conversation& conversation) {
  std::string text;
  for (const auto& message : conversation.messages()) {
    text += std::string(message.at("role").as_string()).substr(0, 1) + ":" +
            std::string(message.at("content").as_string()).substr(0, 3) + " ";
  }
  return text;
}

TEST(Conversation, KeepsTheOrderWithTheSystemMessageFirst) {
  Conversation talk;
  talk.add_question("q1");
  talk.add_answer("a1");
  talk.set_system("be");
  talk.add_question("q2");
  EXPECT_EQ(shown(talk), "s:be u:q1 a:a1 u:q2 ");
  talk.set_system("");
  talk.drop_question();
  EXPECT_EQ(shown(talk), "u:q1 a:a1 ");
  talk.drop_question();
  EXPECT_EQ(shown(talk), "u:q1 a:a1 ");
  talk.clear();
  EXPECT_EQ(shown(talk), "");
}

TEST(Conversation, LeavesTheOldestOutBeyondItsBoundsAndBeginsWithAQuestion) {
  Conversation many;
  many.set_system("sys");
  for (std::size_t i = 0; i < kConversationMessagesMax; ++i) {
    many.add_question("q");
    many.add_answer("a");
  }
  EXPECT_EQ(many.left_out(), kConversationMessagesMax);
  EXPECT_EQ(many.messages().size(), kConversationMessagesMax + 1);
  EXPECT_EQ(many.messages()[0].at("role"), "system");
  EXPECT_EQ(many.messages()[1].at("role"), "user");

  Conversation large;
  large.add_question("first");
  large.add_answer(std::string(kConversationBytesMax - 10, 'x'));
  EXPECT_EQ(large.left_out(), 0U);
  large.add_question("second");
  EXPECT_EQ(shown(large), "u:sec ");
  EXPECT_EQ(large.left_out(), 2U);
  // One that is larger than all bounds is still asked.
  large.add_question(std::string(kConversationBytesMax + 1, 'y'));
  EXPECT_EQ(shown(large), "u:yyy ");
}

}  // namespace
}  // namespace thaw::cli
