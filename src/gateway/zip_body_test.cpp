#include "gateway/zip_body.h"

#include <gtest/gtest.h>

namespace thaw::gateway {
namespace {

struct Read {
  Status status;
  std::string zip;
  ZipBody body;
};

// The text in pieces of so many bytes.
Read read(std::string_view text, std::size_t piece) {
  Read read;
  while (!text.empty() && read.status.ok()) {
    read.status = read.body.read(text.substr(0, piece), read.zip);
    text.remove_prefix(std::min(piece, text.size()));
  }
  return read;
}

TEST(ZipBody, TheZipComesOutAndTheJsonStays) {
  for (const std::size_t piece : {1U, 2U, 3U, 1000U}) {
    const Read found = read(R"({"Code" : {"ZipFile":"aGVs\nbG8gd29y\/+A="}, "Role":"a\"ZipFile\":\"b"})", piece);
    ASSERT_TRUE(found.status.ok()) << found.status.error().message;
    EXPECT_EQ(found.zip, "hello wor\xff\xe0");
    EXPECT_EQ(found.body.json(), R"({"Code" : {"ZipFile":""}, "Role":"a\"ZipFile\":\"b"})");
    EXPECT_TRUE(found.body.has_zip());
    EXPECT_EQ(found.body.zip_bytes(), found.zip.size());
  }
}

TEST(ZipBody, OnlyTheZipsPlaceCounts) {
  for (const char* text : {R"({"Tags":{"ZipFile":"a tag"}})", R"({"Environment":{"Variables":{"ZipFile":"a b"}}})",
                           R"({"Description":"ZipFile","Code":{"S3Key":"ZipFile"}})", R"({"ZipFile":null})",
                           R"({"Layers":["ZipFile","x y"]})", ""}) {
    const Read found = read(text, 1);
    EXPECT_TRUE(found.status.ok()) << text;
    EXPECT_FALSE(found.body.has_zip()) << text;
    EXPECT_EQ(found.body.json(), text);
  }
  EXPECT_EQ(read(R"({"ZipFile":"aGk="})", 1).zip, "hi");
  EXPECT_EQ(read(R"({"Content":{"S3Key":null,"ZipFile":"aGk="}})", 1).zip, "hi");
  EXPECT_EQ(read(R"({"ZipFile":""})", 1).zip, "");
}

TEST(ZipBody, WhatIsNoBase64IsRefused) {
  for (const char* text : {R"({"ZipFile":"a"})", R"({"ZipFile":"aG k="})", R"({"ZipFile":"aG=k"})",
                           R"({"ZipFile":"\u0041"})", R"({"ZipFile":"aGl"})", R"({"ZipFile":"","ZipFile":""})"}) {
    const Read found = read(text, 4);
    ASSERT_FALSE(found.status.ok()) << text;
    EXPECT_EQ(found.status.error().kind, ErrorKind::invalid_argument);
    EXPECT_NE(found.status.error().message.find("ZipFile"), std::string::npos);
  }
}

TEST(ZipBody, TheJsonAroundIsBounded) {
  const Read found = read("{\"Description\":\"" + std::string(kJsonWithoutZipBytesMax, 'x') + "\"}", 4096);
  ASSERT_FALSE(found.status.ok());
  EXPECT_EQ(found.status.error().kind, ErrorKind::too_large);
  EXPECT_EQ(found.body.json().size(), kJsonWithoutZipBytesMax);
}

}  // namespace
}  // namespace thaw::gateway
