// A JSON body that carries a zip as base64 in ZipFile, Code.ZipFile or Content.ZipFile, as UpdateFunctionCode's,
// CreateFunction's and PublishLayerVersion's do: the zip goes out as its bytes come in, so that nobody holds it whole,
// and the JSON around it stays.
//
// Ownership: plain values. Threads: one. Memory: the JSON without the zip, bounded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/base64.h"
#include "base/result.h"

namespace thaw::gateway {

// Far above what a function's configuration can need.
inline constexpr std::size_t kJsonWithoutZipBytesMax = 256 << 10;

class ZipBody {
 public:
  // Appends the bytes of the zip that this piece of the body completes. Errors: invalid_argument, too_large.
  Status read(std::string_view piece, std::string& zip);

  // At the body's end. The JSON, with an empty string where the zip was.
  const std::string& json() const { return json_; }
  // Whether there was one. One that is no base64 is an error of the last read().
  bool has_zip() const { return has_zip_; }
  std::uint64_t zip_bytes() const { return zip_bytes_; }

 private:
  enum class Place : std::uint8_t { outside, in_string, escape, in_zip, zip_escape };

  Status read_outside(char c);
  Status read_in_zip(char c, std::string& zip);
  Status end_zip();
  // Whether the string that begins now is the zip.
  bool is_zip() const;

  Place place_ = Place::outside;
  std::string json_;
  std::string last_string_;  // raw, the last whole string outside of the zip; bounded
  bool after_key_ = false;   // last_string_ was followed by a colon
  std::string parent_key_;   // of the innermost object, where that is a member of the outermost one
  std::uint64_t depth_ = 0;  // of objects and arrays
  Base64Reader base64_;
  bool has_zip_ = false;
  std::uint64_t zip_bytes_ = 0;
};

}  // namespace thaw::gateway
