// Sets of addresses, kept as ranges that neither touch nor overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace thaw::snapshot {

struct AddressRange {
  std::uint64_t start = 0;
  std::uint64_t end = 0;  // behind the last byte
  bool operator==(const AddressRange&) const = default;
};

// Threads: one at a time.
class AddressRanges {
 public:
  void add(AddressRange range);
  void subtract(AddressRange range);
  // What lies in [from, from + bytes) lies at [to, to + bytes) from then on, and what was there is gone.
  void move(std::uint64_t from, std::uint64_t to, std::uint64_t bytes);
  // The range that holds the address.
  std::optional<AddressRange> find(std::uint64_t address) const;
  // The first start above the address; none above: the highest number.
  std::uint64_t next_start(std::uint64_t address) const;
  std::vector<AddressRange> within(AddressRange bounds) const;
  std::vector<AddressRange> all() const;
  std::size_t size() const { return ends_.size(); }

 private:
  std::map<std::uint64_t, std::uint64_t> ends_;  // by start
};

// Ascending ranges, joined over their smallest gaps until there are no more than count_max.
std::vector<AddressRange> at_most(std::vector<AddressRange> ascending, std::size_t count_max);

}  // namespace thaw::snapshot
