#include "conversation.h"

#include <boost/json/object.hpp>
#include <string_view>

namespace thaw::cli {

void Conversation::add(const char* role, std::string text) {
  bytes_ += text.size();
  messages_.push_back({role, std::move(text)});
  // The last question stays, whatever it takes; and templates of models want a question first.
  while (messages_.size() > 1 && (messages_.size() > kConversationMessagesMax || bytes_ > kConversationBytesMax ||
                                  std::string_view(messages_.front().role) != "user")) {
    bytes_ -= messages_.front().text.size();
    messages_.pop_front();
    ++left_out_;
  }
}

void Conversation::drop_question() {
  if (messages_.empty() || std::string_view(messages_.back().role) != "user") return;
  bytes_ -= messages_.back().text.size();
  messages_.pop_back();
}

void Conversation::clear() {
  messages_.clear();
  bytes_ = left_out_ = 0;
}

boost::json::array Conversation::messages() const {
  boost::json::array all;
  if (!system_.empty()) all.push_back({{"role", "system"}, {"content", system_}});
  for (const Message& message : messages_) all.push_back({{"role", message.role}, {"content", message.text}});
  return all;
}

}  // namespace thaw::cli
