#include "control/concurrency.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "control/catalog_for_test.h"
#include "control/zip_for_test.h"

namespace thaw::control {
namespace {

using ::testing::HasSubstr;

class ConcurrencyGateTest : public CatalogForTest {
 protected:
  void SetUp() override {
    CatalogForTest::SetUp();
    for (const char* name : {"a", "b"}) {
      const std::string path = upload(ZipForTest().file("thaw.toml", "command = [\"x\"]\n").bytes());
      ASSERT_TRUE(catalog_->deploy({.name = name, .package_path = path}).ok());
    }
  }

  void reserve(const std::string& name, unsigned executions) {
    ASSERT_TRUE(catalog_
                    ->put_setting(name, {SettingKind::reserved_concurrency, "",
                                         "{\"ReservedConcurrentExecutions\":" + std::to_string(executions) + "}"})
                    .ok());
  }
};

TEST_F(ConcurrencyGateTest, AReservationIsTheFunctionsOwnAndItsMost) {
  ConcurrencyGate gate(*catalog_, 3);
  reserve("A", 1);
  auto first = gate.enter("a");
  ASSERT_TRUE(first.ok());
  const auto second = gate.enter("A");
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().kind, ErrorKind::overloaded);
  EXPECT_EQ(second.error().code, kReservedLimitExceeded);
  // The other two are all that is left for the others.
  const auto other = gate.enter("b"), another = gate.enter("b"), third = gate.enter("c");
  EXPECT_TRUE(other.ok() && another.ok());
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.error().code, kAccountLimitExceeded);
  *first = ConcurrencyGate::Permit();
  EXPECT_TRUE(gate.enter("a").ok());
}

TEST_F(ConcurrencyGateTest, NoughtThrottlesAlwaysAndChangesAreFollowed) {
  ConcurrencyGate gate(*catalog_, 1000);
  reserve("a", 0);
  EXPECT_FALSE(gate.enter("a").ok());
  reserve("a", 2);
  const auto one = gate.enter("a");
  reserve("a", 1);
  EXPECT_FALSE(gate.enter("a").ok());
  EXPECT_EQ(gate.unreserved(), 999U);
  ASSERT_TRUE(catalog_->remove_setting("a", SettingKind::reserved_concurrency, "").ok());
  EXPECT_TRUE(gate.enter("a").ok());
  reserve("a", 0);
  ASSERT_TRUE(catalog_->remove("a").ok());
  EXPECT_TRUE(gate.enter("a").ok());
  EXPECT_EQ(gate.unreserved(), 1000U);
}

TEST_F(ConcurrencyGateTest, ReservationsLeaveAHundredForTheOthers) {
  const ConcurrencyGate gate(*catalog_, 1000);
  EXPECT_TRUE(gate.check_reservation("a", 900).ok());
  reserve("a", 800);
  EXPECT_TRUE(gate.check_reservation("A", 900).ok());
  EXPECT_TRUE(gate.check_reservation("b", 100).ok());
  const Status refused = gate.check_reservation("b", 101);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::invalid_argument);
  EXPECT_THAT(refused.error().message, HasSubstr("below its minimum value of [100]"));
  EXPECT_TRUE(ConcurrencyGate(*catalog_, 10).check_reservation("b", 0).ok());
}

TEST_F(ConcurrencyGateTest, ProvisionedOnesFitTheReservationOrLeaveAHundred) {
  const ConcurrencyGate gate(*catalog_, 1000);
  EXPECT_TRUE(gate.check_provisioned({"a", "1"}, 900).ok());
  EXPECT_THAT(gate.check_provisioned({"a", "1"}, 901).error().message, HasSubstr("minimum value of [100]"));
  ASSERT_TRUE(catalog_
                  ->put_setting("a", {SettingKind::provisioned_concurrency, "1",
                                      R"({"ProvisionedConcurrentExecutions": 6, "LastModified": ""})"})
                  .ok());
  EXPECT_THAT(gate.check_reservation("a", 5).error().message, HasSubstr("total provisioned concurrency [6]"));
  reserve("a", 10);
  EXPECT_TRUE(gate.check_provisioned({"a", "1"}, 10).ok());
  EXPECT_TRUE(gate.check_provisioned({"a", "2"}, 4).ok());
  EXPECT_THAT(gate.check_provisioned({"a", "2"}, 5).error().message, HasSubstr("reservedConcurrentExecution"));
}

TEST_F(ConcurrencyGateTest, NeverMoreAreInsideThanMay) {
  ConcurrencyGate gate(*catalog_, 1000);
  reserve("a", 3);
  std::atomic<int> inside{0}, most{0}, entered{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        const auto permit = gate.enter("a");
        if (!permit.ok()) continue;
        ++entered;
        const int now = ++inside;
        for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
        }
        std::this_thread::yield();
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 3);
  EXPECT_GT(entered, 0);
  EXPECT_TRUE(gate.enter("a").ok());
}

}  // namespace
}  // namespace thaw::control
