// Reads a JSON object strictly: every member has its type and its bounds, and one that nobody asked for is refused.
// What is null counts as missing.
//
// Ownership: borrows the object. Threads: none of its own. Errors: invalid_argument names the member, with the objects
// around it ("Cors.MaxAge"), and the limit.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thaw::model {

class ObjectReader {
 public:
  // path: what stands before the members' names in messages; empty at the top.
  explicit ObjectReader(const boost::json::object& object, std::string path = {});

  struct TextBounds {
    std::size_t bytes_min = 0;
    std::size_t bytes_max = 0;
  };
  struct ListBounds {
    std::size_t count_max = 0;
    TextBounds each;
  };
  struct NumberBounds {
    std::uint32_t min = 0;
    std::uint32_t max = 0;
  };

  bool has(std::string_view key) const;
  Result<std::optional<std::string>> text(std::string_view key, TextBounds bounds);
  Result<std::optional<std::vector<std::string>>> texts(std::string_view key, ListBounds bounds);
  Result<std::optional<std::uint32_t>> number(std::string_view key, NumberBounds bounds);
  Result<std::optional<bool>> flag(std::string_view key);
  // nullptr when it is missing.
  Result<const boost::json::object*> object(std::string_view key);
  // Refuses members that were not asked for. Call it last.
  Status finish() const;

  // "Cors.MaxAge"
  std::string named(std::string_view key) const;

 private:
  const boost::json::value* take(std::string_view key);

  const boost::json::object& object_;
  const std::string path_;
  std::vector<std::string_view> asked_;
};

}  // namespace thaw::model
