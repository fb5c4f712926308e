// Standard base64 (RFC 4648, section 4).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace thaw {

// Text that comes in pieces. Threads: one.
class Base64Reader {
 public:
  // Appends what is decoded. False when the text is no base64.
  bool read(char c, std::string& out);
  // Whether what was read ends where base64 can: no digit is left alone, and what its last one has too much is zero.
  bool ends() const { return bits_ < 6 && (word_ & ((1U << bits_) - 1)) == 0; }

 private:
  unsigned word_ = 0;
  unsigned bits_ = 0;  // of word_, not given out yet
  unsigned padding_ = 0;
};

std::string base64_encoded(std::string_view bytes);
// Nothing for text that is no base64. Padding may be left out; what follows it may not.
std::optional<std::string> base64_decoded(std::string_view text);

}  // namespace thaw
