#include "adapters/s3/s3_store.h"

#include "adapters/curl/server_for_test.h"
#include "ports/object_store_contract_test.h"

namespace thaw::ports {
namespace {

// s3rver, which npm brings for tests. It knows its accounts and does not look at signatures of version 4: those are
// checked by signature_test.cpp and by the end-to-end tests.
class S3Fixture : public StoreFixture {
 public:
  explicit S3Fixture(std::unique_ptr<adapters::ServerForTest> server) : server_(std::move(server)) {
    adapters::S3Settings settings;
    settings.endpoint = "http://127.0.0.1:" + std::to_string(server_->port());
    settings.path_style = true;
    settings.credentials = adapters::Credentials{"S3RVER", "S3RVER", ""};
    settings.source = "the test";
    store_ = adapters::open_s3_store(settings, {.name = "bucket"}, "thaw-test").value();
  }

  ObjectStore& store() override { return *store_; }
  // s3rver fails at a second page; the end-to-end tests' server gives pages of three.
  std::size_t page() const override { return 1000; }
  void fill(const std::string& key, const std::string& contents) override {
    const UniqueFd file(::memfd_create("object", MFD_CLOEXEC));
    ASSERT_TRUE(sys::write_all(file, contents).ok());
    const auto put = store_->put({.key = key, .bytes = contents.size()}, file, Call());
    ASSERT_TRUE(put.ok()) << put.error().message;
  }

 private:
  std::unique_ptr<adapters::ServerForTest> server_;
  std::shared_ptr<ObjectStore> store_;
};

std::unique_ptr<StoreFixture> make_s3_fixture() {
  const std::string program = std::string(THAW_SOURCE_DIR) + "/tools/npm-test/node_modules/s3rver/bin/s3rver.js";
  if (::access(program.c_str(), R_OK) != 0) return nullptr;
  auto server = std::make_unique<adapters::ServerForTest>();
  server->start({"node", program, "-a", "127.0.0.1", "-p", std::to_string(server->port()), "-d", server->folder(),
                 "--silent", "--configure-bucket", "bucket"});
  return std::make_unique<S3Fixture>(std::move(server));
}

INSTANTIATE_TEST_SUITE_P(S3, ObjectStoreContract, testing::Values(&make_s3_fixture));

TEST(S3Store, BucketsThatCannotBeAreRefused) {
  for (const char* bucket : {"", "ab", "a/b", "a..b", ".ab", "a b", "host:80", "a@b"})
    EXPECT_FALSE(adapters::open_s3_store({}, {.name = bucket}, "thaw-test").ok()) << bucket;
}

}  // namespace
}  // namespace thaw::ports
