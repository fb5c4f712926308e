// The embedded online store: a SQLite file of its own (docs/formats/features.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "ports/online_store.h"

namespace thaw::adapters {

struct EmbeddedOnlineStoreOptions {
  std::size_t readers = 4;             // connections that read at the same time
  std::uint64_t mapped_max = 1 << 30;  // bytes of the file that readers map
};

// What is written is on the disk when write() returns. One process at a time may have the file. Errors: as
// OnlineStore's; corrupt when the file is damaged, or of a later version.
Result<std::unique_ptr<ports::OnlineStore>> open_embedded_online_store(const std::string& path,
                                                                       EmbeddedOnlineStoreOptions options);

}  // namespace thaw::adapters
