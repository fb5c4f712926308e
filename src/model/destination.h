// Where records of asynchronous invocations go: what EventInvokeConfig's destinations and DeadLetterConfig name.
//
//   arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]    another function
//   arn:aws:s3:::BUCKET   s3://BUCKET[/PREFIX/]                objects in a bucket
//   file:FOLDER/                                               files, below the daemon's folders for objects
//   http://…   https://…                                       a POST for each
//
// Ownership: plain values. Threads: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::model {

inline constexpr std::size_t kDestinationBytesMax = 350;

struct Destination {
  enum class Kind : std::uint8_t { function, objects, http };
  Kind kind = Kind::http;
  // function: its name; objects: "s3://BUCKET/PREFIX/" or "file:FOLDER/", ending with '/'; http: the address.
  std::string place;
  std::string qualifier;  // of a function; empty where there is none

  bool operator==(const Destination&) const = default;
};

// Errors: invalid_argument, to be read behind the name of what holds it: "must be an ARN of …".
Result<Destination> parse_destination(std::string_view text);

}  // namespace thaw::model
