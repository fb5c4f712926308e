// The engine as the spawner sees it.
#pragma once

#include "sandbox/process_images.h"

namespace thaw::snapshot {

class Engine final : public sandbox::ProcessImages {
 public:
  Result<sandbox::Frozen> freeze(pid_t pid, std::uint64_t output_pipe, bool strict_connections,
                                 const UniqueFd& image) override;
  [[noreturn]] void become(const sandbox::ImageRestore& restore) override;
};

}  // namespace thaw::snapshot
