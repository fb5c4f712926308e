// The engine as the spawner sees it.
#pragma once

#include "sandbox/process_images.h"
#include "snapshot/image_file.h"

namespace thaw::snapshot {

class Engine final : public sandbox::ProcessImages {
 public:
  Result<sandbox::Frozen> freeze(const sandbox::ImageFreeze& freeze) override;
  [[noreturn]] void become(const sandbox::ImageRestore& restore) override;
  [[noreturn]] void serve_faults(UniqueFd control) override;

 private:
  const Result<Fingerprint> here_ = this_machine();  // it does not change, and takes a while to find out
};

}  // namespace thaw::snapshot
