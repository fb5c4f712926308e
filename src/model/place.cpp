#include "model/place.h"

#include <algorithm>

namespace thaw::model {
namespace {

constexpr std::size_t kRegionBytesMax = 32;
constexpr std::size_t kAccountDigits = 12;

Place& own_place() {
  static Place own;
  return own;
}

}  // namespace

const Place& place() { return own_place(); }

void set_place(Place place) { own_place() = std::move(place); }

Status check_region(std::string_view region) {
  const auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  if (region.empty() || region.size() > kRegionBytesMax || !std::all_of(region.begin(), region.end(), fits)) {
    return invalid_argument("must be a region's name, like us-east-1: at most " + std::to_string(kRegionBytesMax) +
                            " of a-z, 0-9 and -");
  }
  return {};
}

Status check_account(std::string_view account) {
  if (account.size() != kAccountDigits ||
      !std::all_of(account.begin(), account.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return invalid_argument("must be an account's number: " + std::to_string(kAccountDigits) + " digits");
  return {};
}

}  // namespace thaw::model
