// What was said in a chat so far, within bounds.
#pragma once

#include <boost/json/array.hpp>
#include <deque>
#include <string>

namespace thaw::cli {

inline constexpr std::size_t kConversationMessagesMax = 200;
inline constexpr std::size_t kConversationBytesMax = 1 << 20;

// Threads: one at a time.
class Conversation {
 public:
  // Empty: none.
  void set_system(std::string text) { system_ = std::move(text); }
  // A question, or the answer to the last one.
  void add_question(std::string text) { add("user", std::move(text)); }
  void add_answer(std::string text) { add("assistant", std::move(text)); }
  // Takes back a question that got no answer.
  void drop_question();
  void clear();

  // As /v1/chat/completions takes them, the system message first.
  boost::json::array messages() const;
  // Messages that were left out, oldest first, to keep within the bounds; the system message always stays.
  std::size_t left_out() const { return left_out_; }

 private:
  struct Message {
    const char* role;
    std::string text;
  };
  void add(const char* role, std::string text);

  std::string system_;
  std::deque<Message> messages_;
  std::size_t bytes_ = 0;
  std::size_t left_out_ = 0;
};

}  // namespace thaw::cli
