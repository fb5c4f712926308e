#include "sandbox/environment_setup.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace thaw::sandbox {
namespace {

// As the trampoline leaves it (src/snapshot/trampoline.h): the number in the first word's upper half, then the result.
Error step_that_gave(std::uint64_t number, std::int64_t result) {
  std::array<std::byte, kFailedStepBytes> step{};
  const std::uint64_t first = number << 32;
  std::memcpy(step.data(), &first, sizeof(first));
  std::memcpy(step.data() + sizeof(first), &result, sizeof(result));
  return error_of_failed_step(step);
}

TEST(SetupReport, AFailedStepNamesItsSystemCallAndResult) {
  const Error refused = step_that_gave(157, -EPERM);
  EXPECT_EQ(refused.message, "the snapshot could not be restored: system call 157: Operation not permitted");
  EXPECT_EQ(refused.code, "Snapshot.RestoreFailed");
  EXPECT_EQ(refused.kind, ErrorKind::unsupported);
  EXPECT_EQ(step_that_gave(17, 4096).message, "the snapshot could not be restored: system call 17 returned 4096");
  EXPECT_EQ(step_that_gave(17, 4096).kind, ErrorKind::corrupt);
}

TEST(SetupReport, AFailedStepForWantOfSomethingIsNobodysFault) {
  EXPECT_EQ(step_that_gave(9, -ENOMEM).kind, ErrorKind::unavailable);
  EXPECT_EQ(step_that_gave(435, -EAGAIN).kind, ErrorKind::internal);
}

TEST(SetupReport, ARestoresErrorKeepsItsKindAndCode) {
  SetupReport report;
  report.kind = kReportFailed;
  report.error_kind = static_cast<std::uint32_t>(ErrorKind::unsupported);
  std::strcpy(report.code, "Snapshot.OtherMachine");
  std::strcpy(report.text, "another kernel");
  const Error error = error_of(report);
  EXPECT_EQ(error.kind, ErrorKind::unsupported);
  EXPECT_EQ(error.code, "Snapshot.OtherMachine");
  EXPECT_EQ(error.message, "another kernel");
}

TEST(SetupReport, AnyOtherFailureIsInternalAndNamesItsStep) {
  SetupReport report;
  report.kind = kReportFailed;
  report.step = SetupStep::mounts;
  std::strcpy(report.text, "/tmp: No space left on device");
  EXPECT_EQ(error_of(report).kind, ErrorKind::internal);
  EXPECT_EQ(error_of(report).message, "environment start, step mounts: /tmp: No space left on device");
  EXPECT_EQ(error_of(report).code, "");
}

TEST(SetupReport, TextsWithoutAnEndAndUnknownKindsAreTamed) {
  SetupReport report;
  std::memset(report.code, 'c', sizeof(report.code));
  std::memset(report.text, 't', sizeof(report.text));
  EXPECT_EQ(error_of(report).code, std::string(sizeof(report.code) - 1, 'c'));
  EXPECT_EQ(error_of(report).message, std::string(sizeof(report.text) - 1, 't'));
  report.error_kind = 1'000'000;
  EXPECT_EQ(error_of(report).kind, ErrorKind::internal);
}

}  // namespace
}  // namespace thaw::sandbox
