#include "control/layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "control/catalog.h"
#include "control/catalog_for_test.h"
#include "control/sql_catalog.h"
#include "control/zip_for_test.h"

namespace thaw::control {
namespace {

using ::testing::HasSubstr;

class LayersTest : public CatalogForTest {
 protected:
  std::uint64_t publish(const std::string& name, const ZipForTest& zip) {
    Layers::Publish request{.layer = {.name = name}, .package_path = upload(zip.bytes())};
    request.layer.zip = {.sha256 = std::string(64, 'a'), .bytes = 1};
    const auto made = catalog_->layers().publish(request);
    EXPECT_TRUE(made.ok()) << made.error().message;
    return made.ok() ? made->version : 0;
  }

  Result<model::FunctionRecord> make(std::vector<model::LayerUse> layers,
                                     Catalog::Change::Kind kind = Catalog::Change::Kind::create) {
    Catalog::Change change;
    change.name = "f";
    change.kind = kind;
    if (kind == Catalog::Change::Kind::create) {
      change.package_path = upload(ZipForTest().file("app.py", "x").bytes());
      change.zip = {.sha256 = std::string(64, 'b'), .bytes = 1};
    }
    change.layers = std::move(layers);
    change.edit = [](model::FunctionConfig& config) {
      config.kind = model::FunctionKind::event;
      config.runtime = "provided.al2023";
      return Status();
    };
    return catalog_->change(change);
  }

  std::string file_of(const std::string& sha256, const std::string& name) {
    return read_for_test(data_.at("packages/" + sha256 + "/" + name));
  }

  // What the janitor does, it does soon.
  void expect_gone(const std::string& sha256) {
    for (int i = 0; i < 500 && std::filesystem::exists(data_.at("packages/" + sha256)); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_FALSE(std::filesystem::exists(data_.at("packages/" + sha256)));
    EXPECT_FALSE(std::filesystem::exists(data_.at("packages/" + sha256 + ".zip")));
  }
};

TEST_F(LayersTest, NumbersAreNotGivenTwice) {
  EXPECT_EQ(publish("a", ZipForTest().file("x", "1")), 1U);
  EXPECT_EQ(publish("a", ZipForTest().file("x", "2")), 2U);
  EXPECT_EQ(publish("A", ZipForTest().file("x", "3")), 1U);
  ASSERT_TRUE(catalog_->layers().remove("a", 2).ok());
  EXPECT_EQ(catalog_->layers().remove("a", 2).error().kind, ErrorKind::not_found);
  reopen();
  EXPECT_FALSE(catalog_->layers().find("a", 2));
  EXPECT_EQ(publish("a", ZipForTest().file("x", "4")), 3U);
  ASSERT_EQ(catalog_->layers().versions("a").size(), 2U);
  EXPECT_EQ(catalog_->layers().versions("a").front().version, 3U);
  EXPECT_EQ(catalog_->layers().newest().size(), 2U);
}

TEST_F(LayersTest, ADamagedFileIsNamed) {
  publish("a", ZipForTest().file("x", "1"));
  catalog_.reset();
  write_for_test(data_.at("layers/a/1.json"), "{");
  const auto opened = open_catalog(data_.path(), {});
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().kind, ErrorKind::corrupt);
  EXPECT_THAT(opened.error().message, HasSubstr("layers/a/1.json"));
}

TEST_F(LayersTest, LaterOnesLieOverEarlierOnes) {
  publish("a", ZipForTest()
                   .file("only/a", "a")
                   .file("both", "a")
                   .file("folder/x", "a")
                   .file("file", "a")
                   .link("link", "only/a"));
  publish("b", ZipForTest().file("both", "b").file("folder", "b").file("file/x", "b").file("link/x", "b"));
  const auto made = make({{.name = "a", .version = 1}, {.name = "b", .version = 1}});
  ASSERT_TRUE(made.ok()) << made.error().message;
  const model::FunctionLayers& layers = made->config.layers;
  EXPECT_EQ(file_of(layers.sha256, "only/a"), "a");
  EXPECT_EQ(file_of(layers.sha256, "both"), "b");
  EXPECT_EQ(file_of(layers.sha256, "folder"), "b");
  EXPECT_EQ(file_of(layers.sha256, "file/x"), "b");
  EXPECT_EQ(file_of(layers.sha256, "link/x"), "b");
  // The layers themselves are as they were.
  const std::string first = catalog_->layers().find("a", 1)->code_sha256;
  EXPECT_EQ(file_of(first, "both"), "a");
  EXPECT_EQ(file_of(first, "link"), "a");
  EXPECT_EQ(layers.code_bytes, 1U + 1 + 1 + 1 + 6 + 4);

  const auto turned = make({{.name = "b", .version = 1}, {.name = "a", .version = 1}}, Catalog::Change::Kind::update);
  ASSERT_TRUE(turned.ok()) << turned.error().message;
  EXPECT_NE(turned->config.layers.sha256, layers.sha256);
  EXPECT_EQ(file_of(turned->config.layers.sha256, "both"), "a");
  expect_gone(layers.sha256);
}

TEST_F(LayersTest, AFunctionKeepsWhatItHas) {
  publish("a", ZipForTest().file("x", "1"));
  const std::string sha256 = catalog_->layers().find("a", 1)->code_sha256;
  ASSERT_TRUE(make({{.name = "a", .version = 1}}).ok());
  ASSERT_TRUE(catalog_->layers().remove("a", 1).ok());
  reopen();
  EXPECT_EQ(file_of(sha256, "x"), "1");
  EXPECT_EQ(catalog_->find("f")->config.layers.sha256, sha256);
  EXPECT_THAT(make({{.name = "a", .version = 1}}, Catalog::Change::Kind::update).error().message,
              HasSubstr("does not exist"));
  ASSERT_TRUE(catalog_->remove("f").ok());
  expect_gone(sha256);
}

TEST_F(LayersTest, ZipsGoWithTheirPackages) {
  const auto made = make({});
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_TRUE(catalog_->open_zip(made->code_sha256).ok());
  reopen();
  EXPECT_TRUE(catalog_->open_zip(made->code_sha256).ok());
  ASSERT_TRUE(catalog_->remove("f").ok());
  expect_gone(made->code_sha256);
  EXPECT_EQ(catalog_->open_zip(made->code_sha256).error().kind, ErrorKind::not_found);
}

}  // namespace
}  // namespace thaw::control
