#include "adapters/http/http_store.h"

#include <fcntl.h>

#include <filesystem>
#include <fstream>

#include "adapters/curl/server_for_test.h"
#include "adapters/curl/transport.h"
#include "ports/object_store_contract_test.h"

namespace thaw::ports {
namespace {

namespace fs = std::filesystem;

// nginx over a folder.
class WebFixture : public StoreFixture {
 public:
  explicit WebFixture(std::unique_ptr<adapters::ServerForTest> server) : server_(std::move(server)) {
    store_ = adapters::open_http_store({.base = "http://127.0.0.1:" + std::to_string(server_->port())});
    decoded_ = std::make_unique<Encoded>(*store_);
  }
  ObjectStore& store() override { return *decoded_; }
  bool writes() const override { return false; }
  bool lists() const override { return false; }
  void fill(const std::string& key, const std::string& contents) override {
    const fs::path path = fs::path(server_->folder()) / "root" / key;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << contents;
    // nginx makes its ETag of size and seconds: contents of a test's second moment must differ in it.
    const timespec times[2] = {{++second_, 0}, {second_, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }

 private:
  // The contract's keys are names; this store's are paths as they are sent.
  class Encoded : public ObjectStore {
   public:
    explicit Encoded(ObjectStore& store) : store_(store) {}
    Result<ObjectInfo> head(const std::string& key, const Call& call) override {
      return store_.head(adapters::encode_path(key), call);
    }
    Status read(const ObjectRange& range, const PieceSink& sink, const Call& call) override {
      ObjectRange encoded = range;
      encoded.key = adapters::encode_path(range.key);
      return store_.read(encoded, sink, call);
    }
    Result<ObjectPage> list(const ObjectList& list, const Call& call) override { return store_.list(list, call); }
    Result<ObjectInfo> put(const ObjectUpload& upload, const UniqueFd& file, const Call& call) override {
      return store_.put(upload, file, call);
    }
    Status remove(const std::string& key, const Call& call) override { return store_.remove(key, call); }

   private:
    ObjectStore& store_;
  };

  std::unique_ptr<adapters::ServerForTest> server_;
  std::shared_ptr<ObjectStore> store_;
  std::unique_ptr<Encoded> decoded_;
  time_t second_ = 1700000000;
};

std::unique_ptr<StoreFixture> make_web_fixture() {
  if (::access("/usr/sbin/nginx", X_OK) != 0) return nullptr;
  auto server = std::make_unique<adapters::ServerForTest>();
  const std::string& folder = server->folder();
  fs::create_directories(folder + "/root");
  // Its workers are another user.
  fs::permissions(folder, fs::perms::owner_all | fs::perms::others_exec | fs::perms::others_read);
  std::string paths;
  for (const char* name : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"})
    paths += std::string(name) + "_temp_path " + folder + "/" + name + "; ";
  std::ofstream(folder + "/nginx.conf") << "daemon off; pid " << folder << "/pid; error_log " << folder << "/log;\n"
                                        << "events {}\nhttp { access_log off; " << paths
                                        << "server { listen 127.0.0.1:" << server->port() << "; root " << folder
                                        << "/root; } }\n";
  server->start({"/usr/sbin/nginx", "-c", folder + "/nginx.conf", "-p", folder});
  return std::make_unique<WebFixture>(std::move(server));
}

INSTANTIATE_TEST_SUITE_P(Web, ObjectStoreContract, testing::Values(&make_web_fixture));

}  // namespace
}  // namespace thaw::ports
