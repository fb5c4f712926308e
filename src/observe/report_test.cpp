#include "observe/report.h"

#include <gtest/gtest.h>

namespace thaw::observe {
namespace {

using std::chrono::microseconds;

std::string line(const Report& report) {
  std::string out;
  append_report(out, report);
  return out;
}

TEST(Report, IsLambdasLineToTheByte) {
  EXPECT_EQ(
      line({.request_id = "3f6e", .duration = microseconds(12344), .memory_mb = 512, .memory_peak_bytes = 40 << 20}),
      "REPORT RequestId: 3f6e\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 512 MB\tMax Memory Used: 40 "
      "MB\t\n");
  EXPECT_EQ(line({.request_id = "3f6e",
                  .duration = microseconds(12344),
                  .memory_mb = 512,
                  .memory_peak_bytes = (40 << 20) + 1,
                  .init_duration = microseconds(210119)}),
            "REPORT RequestId: 3f6e\tDuration: 12.34 ms\tBilled Duration: 223 ms\tMemory Size: 512 MB\tMax Memory "
            "Used: 41 MB\t"
            "Init Duration: 210.12 ms\t\n");
  EXPECT_EQ(line({.request_id = "3f6e",
                  .duration = microseconds(12344),
                  .memory_mb = 512,
                  .memory_peak_bytes = 40 << 20,
                  .restore_duration = microseconds(4120),
                  .restore_billed = microseconds(1001)}),
            "REPORT RequestId: 3f6e\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 512 MB\tMax Memory "
            "Used: 40 MB\tRestore Duration: 4.12 ms\tBilled Restore Duration: 2 ms\t\n");
  EXPECT_EQ(line({.request_id = "3f6e",
                  .duration = microseconds(3000000),
                  .memory_mb = 128,
                  .memory_peak_bytes = 30 << 20,
                  .status = "timeout"}),
            "REPORT RequestId: 3f6e\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\t"
            "Max Memory Used: 30 MB\tStatus: timeout\n");
  EXPECT_EQ(
      line({.request_id = "3f6e", .memory_mb = 128, .status = "error", .error_type = "Runtime.ExitError"}),
      "REPORT RequestId: 3f6e\tDuration: 0.00 ms\tBilled Duration: 0 ms\tMemory Size: 128 MB\tMax Memory Used: 0 MB\t"
      "Status: error\tError Type: Runtime.ExitError\n");
}

TEST(Report, RoundsDurationToHundredthsAndBillsWholeMilliseconds) {
  EXPECT_NE(line({.duration = microseconds(1)}).find("Duration: 0.00 ms\tBilled Duration: 1 ms"), std::string::npos);
  EXPECT_NE(line({.duration = microseconds(995)}).find("Duration: 1.00 ms\tBilled Duration: 1 ms"), std::string::npos);
  EXPECT_NE(line({.duration = microseconds(1000)}).find("Duration: 1.00 ms\tBilled Duration: 1 ms"), std::string::npos);
  EXPECT_NE(line({.duration = microseconds(1001)}).find("Duration: 1.00 ms\tBilled Duration: 2 ms"), std::string::npos);
  EXPECT_NE(line({.duration = microseconds(-5)}).find("Duration: 0.00 ms\tBilled Duration: 0 ms"), std::string::npos);
}

TEST(Report, StartAndEndNameTheRequest) {
  std::string out = "before\n";
  append_start(out, "3f6e", "$LATEST");
  append_end(out, "3f6e");
  EXPECT_EQ(out, "before\nSTART RequestId: 3f6e Version: $LATEST\nEND RequestId: 3f6e\n");
}

}  // namespace
}  // namespace thaw::observe
