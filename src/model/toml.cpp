#include "model/toml.h"

#include <algorithm>
#include <string>

namespace thaw::model {
namespace {

class DotCounter {
 public:
  explicit DotCounter(std::string_view text) : text_(text) {}

  bool too_many() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == '"' || c == '\'') {
        skip_string(c);
      } else {
        if (c == '.') ++dots_;
        if (c == '\n' || c == '=' || c == ',' || c == '{' || c == '[') dots_ = 0;
        if (dots_ > kTomlKeyDotsMax) return true;
        ++at_;
      }
    }
    return false;
  }

 private:
  void skip_string(char quote) {
    const std::string triple(3, quote);
    const bool multiline = text_.substr(at_, 3) == triple;
    at_ += multiline ? 3 : 1;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (quote == '"' && c == '\\') {
        at_ += 2;
      } else if (!multiline && (c == quote || c == '\n')) {
        at_ += c == quote ? 1 : 0;
        return;
      } else if (multiline && text_.substr(at_, 3) == triple) {
        at_ += 3;
        // Up to two more quotes may belong to the string.
        while (at_ < text_.size() && text_[at_] == quote) ++at_;
        return;
      } else {
        ++at_;
      }
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int dots_ = 0;
};

}  // namespace

bool has_deep_toml_key(std::string_view text) { return DotCounter(text).too_many(); }

}  // namespace thaw::model
