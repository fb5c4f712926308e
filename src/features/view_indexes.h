// The vector indexes of feature views. One is made by the first search of its view, from all rows of the online store;
// what is written through this process afterwards, or meanwhile, goes into it too.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "features/definitions.h"
#include "features/row_codec.h"
#include "features/vector_index.h"
#include "ports/online_store.h"

namespace thaw::features {

// Ownership: borrows the online store. Threads: any. No lock of writers is held while the online store is read.
class ViewIndexes {
 public:
  explicit ViewIndexes(ports::OnlineStore& online) : online_(online) {}

  // view: has a vector; slots: of all of its features. Errors: too_large, told again for 30 seconds; unavailable when
  // another search makes the index and is not done within 10 seconds; the online store's.
  Result<std::shared_ptr<VectorIndex>> get(const FeatureView& view, std::span<const FeatureSlot> slots);
  // What the online store has taken.
  void written(const FeatureView& view, std::span<const FeatureSlot> slots, std::span<const ports::OnlineRow> rows);
  // The next search makes the index anew.
  void forget(std::string_view view);

 private:
  struct Slot;
  std::shared_ptr<Slot> slot_of(const FeatureView& view);
  std::shared_ptr<VectorIndex> index_of(Slot& slot);
  Status fill(const FeatureView& view, std::span<const FeatureSlot> slots, VectorIndex& index);

  ports::OnlineStore& online_;
  std::atomic<std::size_t> bytes_{0};
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Slot>, std::less<>> slots_;  // guarded by mutex_
};

}  // namespace thaw::features
