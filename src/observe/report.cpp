#include "observe/report.h"

#include <charconv>

namespace thaw::observe {
namespace {

// A line's numbers are written straight to its end: this runs for each invocation.
void append_number(std::string& out, std::uint64_t value) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  out.append(digits, static_cast<std::size_t>(end - digits));
}

// A clock that went backwards does not make a line absurd.
std::uint64_t not_negative(std::chrono::microseconds duration) {
  return duration.count() < 0 ? 0 : static_cast<std::uint64_t>(duration.count());
}

// "12.34 ms", rounded to the nearest hundredth.
void append_ms(std::string& out, std::chrono::microseconds duration) {
  const std::uint64_t hundredths = (not_negative(duration) + 5) / 10;
  append_number(out, hundredths / 100);
  const char rest[] = {'.', static_cast<char>('0' + hundredths / 10 % 10), static_cast<char>('0' + hundredths % 10)};
  out.append(rest, sizeof(rest)).append(" ms");
}

}  // namespace

void append_start(std::string& out, std::string_view request_id, std::string_view version) {
  out.append("START RequestId: ").append(request_id).append(" Version: ").append(version).append("\n");
}

void append_end(std::string& out, std::string_view request_id) {
  out.append("END RequestId: ").append(request_id).append("\n");
}

void append_report(std::string& out, const Report& report) {
  const std::uint64_t init_us = report.init_duration ? not_negative(*report.init_duration) : 0;
  out.append("REPORT RequestId: ").append(report.request_id).append("\tDuration: ");
  append_ms(out, report.duration);
  out.append("\tBilled Duration: ");
  append_number(out, (not_negative(report.duration) + init_us + 999) / 1000);
  out.append(" ms\tMemory Size: ");
  append_number(out, report.memory_mb);
  out.append(" MB\tMax Memory Used: ");
  append_number(out, (report.memory_peak_bytes >> 20) + ((report.memory_peak_bytes & 0xFFFFF) != 0 ? 1 : 0));
  out.append(" MB\t");
  if (report.init_duration) {
    out.append("Init Duration: ");
    append_ms(out, *report.init_duration);
    out.append("\t");
  }
  if (report.restore_duration) {
    out.append("Restore Duration: ");
    append_ms(out, *report.restore_duration);
    out.append("\tBilled Restore Duration: ");
    append_number(out, (not_negative(report.restore_billed) + 999) / 1000);
    out.append(" ms\t");
  }
  if (!report.status.empty()) out.append("Status: ").append(report.status);
  if (!report.error_type.empty())
    out.append(report.status.empty() ? "" : "\t").append("Error Type: ").append(report.error_type);
  out.append("\n");
}

}  // namespace thaw::observe
