// Rows on their way, in a SQLite file that has no name: it is gone when its process is, however that ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "ports/row_spool.h"

namespace thaw::adapters {

struct RowSpoolOptions {
  std::string folder;
  std::uint64_t bytes_max = 16ULL << 30;
  ports::SpoolKeeps keeps = ports::SpoolKeeps::latest;
};

Result<std::unique_ptr<ports::RowSpool>> open_row_spool(const RowSpoolOptions& options);

}  // namespace thaw::adapters
