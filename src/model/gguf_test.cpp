#include "model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <filesystem>
#include <fstream>

#include "base/sys.h"
#include "model/gguf_for_test.h"

namespace thaw::model {
namespace {

using testing::HasSubstr;

Result<GgufInfo> read(const std::string& file) { return read_gguf(std::as_bytes(std::span(file)), file.size()); }

TEST(Gguf, TheHeadTellsTheModelsShape) {
  for (const std::uint32_t version : {2U, 3U}) {
    const std::string file = small_gguf().file(version);
    const auto info = read(file);
    ASSERT_TRUE(info.ok()) << info.error().message;
    EXPECT_EQ(info->version, version);
    EXPECT_EQ(info->architecture, "llama");
    EXPECT_EQ(info->name, "Tiny");
    EXPECT_EQ(info->context_length, 2048U);
    EXPECT_EQ(info->block_count, 2U);
    EXPECT_EQ(info->embedding_length, 64U);
    EXPECT_EQ(info->head_count, 8U);
    EXPECT_EQ(info->head_count_kv, 4U) << "the largest of the layers'";
    EXPECT_EQ(info->key_length, 8U);
    EXPECT_EQ(info->chat_template, "{{ messages }}");
    EXPECT_EQ(info->tensors, 2U);
    EXPECT_FALSE(info->has_pooling_type);
    EXPECT_EQ(info->bytes, file.size());
  }
}

TEST(Gguf, WhatTheFileLacksIsDerivedOrZero) {
  const auto info = read(GgufWriter().text("general.architecture", "bert").number("bert.pooling_type", 0).file());
  ASSERT_TRUE(info.ok()) << info.error().message;
  EXPECT_EQ(info->context_length, 0U);
  EXPECT_EQ(info->key_length, 0U);
  EXPECT_TRUE(info->has_pooling_type);
  const auto own = read(small_gguf().number("llama.attention.key_length", 16).file());
  EXPECT_EQ(own->key_length, 16U);
}

TEST(Gguf, ACutFileSaysHowManyBytesAreMissing) {
  const std::string file = small_gguf().file();
  const auto cut = read(file.substr(0, file.size() - 1000));
  ASSERT_FALSE(cut.ok());
  EXPECT_EQ(cut.error().kind, ErrorKind::corrupt);
  EXPECT_EQ(cut.error().message, "is cut short: 1000 bytes are missing");
}

TEST(Gguf, EveryShorterFileIsRefused) {
  const std::string file = small_gguf().file();
  for (std::size_t bytes = 0; bytes < file.size(); ++bytes) {
    const auto info = read(file.substr(0, bytes));
    ASSERT_FALSE(info.ok()) << bytes;
    EXPECT_EQ(info.error().kind, bytes < 4 ? ErrorKind::invalid_argument : ErrorKind::corrupt) << bytes;
  }
}

TEST(Gguf, WhatIsNotGgufIsRefused) {
  for (const std::string& file :
       {std::string("PK\3\4 a zip of something"), std::string(1000, '\0'), std::string("ggjt    ")})
    EXPECT_EQ(read(file).error().message, "is not GGUF");
  EXPECT_THAT(read(small_gguf().file(1)).error().message, HasSubstr("version 1"));
  EXPECT_THAT(read(small_gguf().file(3U << 24)).error().message, HasSubstr("big-endian"));
}

TEST(Gguf, ClaimsThatCannotBeAreRefused) {
  EXPECT_THAT(read(GgufWriter().text("general.architecture", "x").tensor("t", {1ULL << 40, 1ULL << 40}, 0, 0).file())
                  .error()
                  .message,
              HasSubstr("too large"));
  EXPECT_THAT(read(GgufWriter().text("general.architecture", "x").tensor("t", {33}, 8, 34).file()).error().message,
              HasSubstr("whole number of blocks"));
  EXPECT_THAT(
      read(GgufWriter().text("general.architecture", "x").tensor("t", {1, 1, 1, 1, 1}, 0, 4).file()).error().message,
      HasSubstr("5 dimensions"));
  EXPECT_THAT(
      read(GgufWriter().text("general.architecture", "x").number("general.alignment", 3).file()).error().message,
      HasSubstr("alignment"));
  EXPECT_THAT(read(GgufWriter().text("general.name", "x").file()).error().message, HasSubstr("no architecture"));
  std::string many = small_gguf().file();
  many.replace(8, 8, std::string(8, '\x7f'));
  EXPECT_THAT(read(many).error().message, HasSubstr("tensors"));
}

TEST(Gguf, AFileIsReadByItsDescriptor) {
  const std::string file = small_gguf().file();
  const UniqueFd fd(::memfd_create("model", MFD_CLOEXEC));
  EXPECT_EQ(read_gguf(fd).error().message, "is not GGUF");
  ASSERT_TRUE(sys::write_all(fd, file).ok());
  EXPECT_EQ(read_gguf(fd)->bytes, file.size());
}

}  // namespace
}  // namespace thaw::model
