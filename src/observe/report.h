// START, END and REPORT lines in Lambda's format ("Viewing CloudWatch logs for Lambda", AWS Lambda Developer Guide).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace thaw::observe {

struct Report {
  std::string_view request_id;
  std::chrono::microseconds duration{0};
  std::uint32_t memory_mb = 0;
  std::uint64_t memory_peak_bytes = 0;
  std::optional<std::chrono::microseconds> init_duration;
  std::optional<std::chrono::microseconds> restore_duration;
  // The part of it that was the function's own code: its after-restore hook ("Monitoring for Lambda SnapStart").
  std::chrono::microseconds restore_billed{0};
  // "timeout", "error" or empty for success.
  std::string_view status;
  std::string_view error_type;
};

// "START RequestId: … Version: $LATEST\n"
void append_start(std::string& out, std::string_view request_id, std::string_view version);
// "END RequestId: …\n"
void append_end(std::string& out, std::string_view request_id);
// "REPORT RequestId: …\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 512 MB\tMax Memory Used: 40 MB\t
// Init Duration: 210.12 ms, or Restore Duration: 4.12 ms\tBilled Restore Duration: 2 ms,\t\n" on one line. Billed
// Duration is Duration, and Init Duration where there is one, rounded up to whole milliseconds, as is Billed Restore
// Duration; Max Memory Used is rounded up to whole MiB.
void append_report(std::string& out, const Report& report);

}  // namespace thaw::observe
