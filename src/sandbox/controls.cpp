#include "sandbox/controls.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string>

#include "base/sys.h"

namespace thaw::sandbox {
namespace {

class CgroupControls final : public Controls {
 public:
  CgroupControls(const protocol::StartedBody& body, std::vector<UniqueFd> files) : body_(body) {
    std::size_t next = 0;
    for (std::uint32_t bit = 1; bit <= protocol::kControlsAll && next < files.size(); bit <<= 1) {
      if ((body.controls & bit) == 0) continue;
      constexpr std::uint32_t kFreeze = protocol::kControlFreezeV2 | protocol::kControlFreezeV1;
      constexpr std::uint32_t kCpu = protocol::kControlCpuV2 | protocol::kControlCpuV1;
      UniqueFd& place = (bit & kFreeze) != 0 ? freeze_ : (bit & kCpu) != 0 ? cpu_ : memory_;
      place = std::move(files[next++]);
    }
  }

  Status freeze() override { return write(freeze_, has(protocol::kControlFreezeV2) ? "1" : "FROZEN"); }
  Status thaw() override { return write(freeze_, has(protocol::kControlFreezeV2) ? "0" : "THAWED"); }

  Status throttle() override {
    if (!cpu_.valid()) return {};  // a machine without the cpu controller: served unthrottled
    std::string text = std::to_string(body_.cpu_quota_us);
    if (has(protocol::kControlCpuV2)) text += " " + std::to_string(body_.cpu_period_us);
    return write(cpu_, text);
  }

  Result<std::uint64_t> memory_peak_bytes() override {
    if (!memory_.valid()) return Error{ErrorKind::unsupported, "no memory figures"};
    char text[32];
    const ssize_t size = ::pread(memory_.get(), text, sizeof(text), 0);
    if (size < 0) return sys::errno_error("memory figures");
    std::uint64_t bytes = 0;
    if (std::from_chars(text, text + size, bytes).ec != std::errc()) return internal_error("memory figures");
    highest_bytes_ = std::max(highest_bytes_, bytes);
    return highest_bytes_;
  }

 private:
  bool has(std::uint32_t bit) const { return (body_.controls & bit) != 0; }

  static Status write(const UniqueFd& file, std::string_view text) {
    if (!file.valid()) return Error{ErrorKind::unsupported, "no such cgroup file"};
    if (::pwrite(file.get(), text.data(), text.size(), 0) < 0) {
      // The group is removed with the environment, and its files answer ENODEV from then on.
      if (errno == ENODEV) return Error{ErrorKind::not_found, "the environment has ended"};
      return sys::errno_error("cgroup control");
    }
    return {};
  }

  const protocol::StartedBody body_;
  UniqueFd freeze_;
  UniqueFd cpu_;
  UniqueFd memory_;
  std::uint64_t highest_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Controls> make_controls(const protocol::StartedBody& body, std::vector<UniqueFd> files) {
  return std::make_unique<CgroupControls>(body, std::move(files));
}

}  // namespace thaw::sandbox
