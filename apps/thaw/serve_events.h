// The daemon's queue of events, opened as its configuration says.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "config.h"
#include "events/event_dispatcher.h"
#include "model_stores.h"
#include "ports/event_queue.h"

namespace thaw::cli {

// data_folder: as this process finds it. Errors: those of the adapter, naming the file or the
// server.
Result<std::unique_ptr<ports::EventQueue>> open_event_queue(const ServeConfig& config, const std::string& data_folder);

// stores: where objects: destinations are; they outlive what is returned.
events::DispatcherOptions dispatcher_options(const ServeConfig& config, ModelStores& stores);

}  // namespace thaw::cli
