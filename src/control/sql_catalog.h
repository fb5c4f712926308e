// The catalog on a SQL database, with what its tests need to turn.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "control/catalog.h"
#include "control/zip_intake.h"

namespace thaw::control {

struct CatalogOptions {
  IntakeLimits intake;
  std::chrono::milliseconds removal_delay{10000};
  // Called after each durable step of deploy() ("unpacked", "synced", "placed", "recorded"), remove() ("erased") and
  // publish() ("published"); a test dies here.
  std::function<void(std::string_view step)> at_step;
};

Result<std::unique_ptr<Catalog>> open_catalog(const std::string& data_folder, CatalogOptions options);

}  // namespace thaw::control
