#include "adapters/sqlite/outcome_table.h"

#include "adapters/sqlite/table.h"
#include "base/folder_for_test.h"
#include "ports/outcome_table_contract_test.h"

namespace thaw::adapters {
namespace {

class SqliteOutcomeFixture final : public ports::OutcomeFixture {
 public:
  Result<std::unique_ptr<ports::OutcomeTable>> open() override {
    return open_sqlite_outcomes(folder_.at("outcomes.db"), "outcomes");
  }
  Result<std::unique_ptr<ports::TableReader>> read(const std::string& query) override {
    return open_sqlite_table({.path = folder_.at("outcomes.db"), .table = {}, .query = query}, {});
  }

 private:
  FolderForTest folder_;
};

std::unique_ptr<ports::OutcomeFixture> make_sqlite_outcomes() { return std::make_unique<SqliteOutcomeFixture>(); }

}  // namespace
}  // namespace thaw::adapters

namespace thaw::ports {
INSTANTIATE_TEST_SUITE_P(Sqlite, OutcomeTableContract, testing::Values(&adapters::make_sqlite_outcomes));
}  // namespace thaw::ports
