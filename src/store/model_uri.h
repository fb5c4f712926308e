// Where a model lies, as people write it:
//
//   s3://BUCKET/KEY                     https://HOST[:PORT]/PATH[?QUERY]
//   hf:OWNER/REPO[@REVISION]/FILE       file:PATH, below the daemon's folders for models
//   package:CODE_SHA256/PATH            in a function's package (written by Thaw itself)
//
// One that ends with "/" is a folder: every object below it. http: is taken for loopback alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::store {

inline constexpr std::size_t kModelUriBytesMax = 2048;

enum class ModelScheme : std::uint8_t { s3, https, hub, file, package };

struct ModelUri {
  std::string text;  // the whole, as it was given
  ModelScheme scheme = ModelScheme::file;
  // s3: the bucket; https: "https://HOST[:PORT]"; hub: "OWNER/REPO"; package: the code's SHA-256; file: empty.
  std::string place;
  std::string revision;  // of a hub, "main" unless given; of s3 an object's version, which no text of an address gives
  // Of the object, or of a folder with its "/" at the end (empty: all of the place). https: with the query, encoded.
  std::string key;
  bool folder = false;

  // What a single file is called in memory: the key's last part, decoded.
  std::string file_name() const;
};

// Errors: invalid_argument says what is wrong with it.
Result<ModelUri> parse_model_uri(std::string_view text);

// Whether a relative path stays where it is put: parts of 1 to 255 bytes, no "." or "..", at most 16 of them, no NUL.
bool is_safe_path(std::string_view path);

}  // namespace thaw::store
