// A catalog in a folder of its own, that can be opened again as a new daemon would.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/folder_for_test.h"
#include "control/catalog.h"
#include "control/sql_catalog.h"

namespace thaw::control {

class CatalogForTest : public ::testing::Test {
 protected:
  void SetUp() override { reopen(); }

  void reopen() {
    catalog_.reset();
    auto opened = open_catalog(data_.path(), {.removal_delay = std::chrono::milliseconds(0)});
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    catalog_ = std::move(*opened);
  }

  // An upload that has come: its path.
  std::string upload(const std::string& bytes) {
    const std::string path = catalog_->new_upload_path();
    write_for_test(path, bytes);
    return path;
  }

  FolderForTest data_;
  std::unique_ptr<Catalog> catalog_;
};

}  // namespace thaw::control
