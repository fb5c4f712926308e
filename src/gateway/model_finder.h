// Finds the top-level "model" of a request body of the OpenAI API while the body comes in, without building a document:
// a body may hold megabytes of images, and only this one string decides where it goes.
//
// JSON is read as Boost.JSON reads it (RFC 8259, UTF-8, no comments): escapes in keys and values count as what they
// stand for, and of several members named "model" the last one holds.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::gateway {

// Beyond a name with any qualifier; a longer one names nothing.
inline constexpr std::size_t kModelNameBytesMax = 512;
// Nesting of objects and arrays: schemas of tools go deep, but not so deep.
inline constexpr std::size_t kJsonDepthMax = 500;

// Codes of errors, as OpenAI names them; each is about the parameter "model".
inline constexpr char kModelNotFound[] = "model_not_found";
inline constexpr char kModelMissing[] = "missing_required_parameter";
inline constexpr char kModelNoString[] = "invalid_type";

// Threads: one at a time. Cost: a look at every byte; memory for kModelNameBytesMax and the nesting.
class ModelFinder {
 public:
  ModelFinder();
  ~ModelFinder();
  ModelFinder(ModelFinder&&) noexcept;

  // The next piece, cut anywhere. Errors: invalid_argument when the bytes so far begin no JSON object; the finder is of
  // no further use then.
  Status write(std::string_view piece);
  // After the last piece. Errors: invalid_argument for JSON that is not complete, and, with one of the codes above, for
  // a model that is missing, empty or no string; not_found for one longer than kModelNameBytesMax.
  Result<std::string> finish();

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace thaw::gateway
