#include "onnx/preprocessor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cmath>
#include <fstream>
#include <iterator>

namespace thaw::onnx {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

// Byte i is the top byte of the i-th state of a linear congruential generator (tests/data/make_processor_fixtures.py).
image::Picture picture(const json::value& of) {
  image::Picture out;
  out.size = {of.at("width").to_number<std::uint32_t>(), of.at("height").to_number<std::uint32_t>()};
  auto state = of.at("seed").to_number<std::uint32_t>();
  for (std::size_t i = 0; i < out.size.pixels() * image::kChannels; ++i) {
    state = state * 1664525U + 1013904223U;
    out.rgb.push_back(static_cast<std::uint8_t>(state >> 24));
  }
  return out;
}

// One grey level of the resized picture may differ, by the order in which Pillow adds up. Which is what in units of the
// input depends on the processor.
double grey_level(const json::value& config) {
  const auto flag = [&](const char* name) {
    const json::value* value = config.as_object().if_contains(name);
    return value != nullptr && value->is_bool() && value->get_bool();
  };
  double level = flag("do_rescale") ? config.at("rescale_factor").to_number<double>() : 1;
  double smallest = 1;
  for (const json::value& deviation : config.at("image_std").as_array()) {
    smallest = std::min(smallest, deviation.to_number<double>());
  }
  if (flag("do_normalize")) level /= smallest;
  if (flag("include_top")) level /= smallest;
  return level;
}

TEST(PreprocessorTest, MakesWhatHuggingFacesProcessorsMake) {
  std::ifstream in(std::string(THAW_SOURCE_DIR) + "/tests/data/image/processors.json");
  const json::value cases = json::parse(std::string{std::istreambuf_iterator<char>(in), {}});
  EXPECT_GE(cases.as_array().size(), 12u);
  for (const json::value& one : cases.as_array()) {
    SCOPED_TRACE(json::serialize(one.at("config")));
    const auto preprocessor = Preprocessor::from_json(json::serialize(one.at("config")));
    ASSERT_TRUE(preprocessor.ok()) << preprocessor.error().message;
    const auto input = preprocessor->make_input(picture(one.at("picture")));
    ASSERT_TRUE(input.ok()) << input.error().message;
    const image::Size size{one.at("width").to_number<std::uint32_t>(), one.at("height").to_number<std::uint32_t>()};
    ASSERT_EQ(input->size.width, size.width);
    ASSERT_EQ(input->size.height, size.height);
    if (const auto fixed = preprocessor->fixed_size()) {
      EXPECT_EQ(*fixed, size);
    }
    const double level = grey_level(one.at("config")) + 1e-5;
    std::size_t exact = 0;
    std::size_t count = 0;
    for (std::size_t c = 0; c < image::kChannels; ++c) {
      std::size_t at = c * size.pixels();
      for (const json::value& value : one.at("values").at(c).as_array()) {
        const double difference = std::abs(input->values[at] - value.to_number<double>());
        ASSERT_LE(difference, level) << "channel " << c << ", place " << at - c * size.pixels();
        exact += difference < 1e-5 ? 1 : 0;
        ++count;
        at += one.at("step").to_number<std::size_t>();
      }
    }
    EXPECT_GE(exact * 100, count * 99);
  }
}

std::string error_of(std::string_view config) {
  const auto preprocessor = Preprocessor::from_json(config);
  return preprocessor.ok() ? "no error" : preprocessor.error().message;
}

TEST(PreprocessorTest, WhatIsNotUnderstoodIsNamed) {
  EXPECT_EQ(error_of(R"({"size": 8, "do_normalize": false})"), "no error");
  EXPECT_THAT(error_of("["), HasSubstr("not JSON"));
  EXPECT_THAT(error_of("[]"), HasSubstr("must be an object"));
  EXPECT_THAT(error_of("{}"), HasSubstr("size is missing"));
  EXPECT_THAT(error_of(R"({"size": 0})"), HasSubstr("size must be a whole number from 1 to 4096"));
  EXPECT_THAT(error_of(R"({"size": {"height": 8}})"), HasSubstr("size.width is missing"));
  EXPECT_THAT(error_of(R"({"size": {"shortest_edge": 5000}})"), HasSubstr("size.shortest_edge must be"));
  EXPECT_THAT(error_of(R"({"size": 8, "resample": 6})"), HasSubstr("resample must be a whole number from 0 to 5"));
  EXPECT_THAT(error_of(R"({"size": 8, "do_center_crop": true})"), HasSubstr("crop_size is missing"));
  EXPECT_THAT(error_of(R"({"size": 8, "do_center_crop": 1})"), HasSubstr("do_center_crop must be true or false"));
  EXPECT_THAT(error_of(R"({"size": 8})"), HasSubstr("image_std is missing"));
  EXPECT_THAT(error_of(R"({"size": 8, "image_mean": 0.5, "image_std": 0})"), HasSubstr("image_std must not be 0"));
  EXPECT_THAT(error_of(R"({"size": 8, "image_mean": [1, 2], "image_std": 1})"), HasSubstr("an array of three"));
  EXPECT_THAT(error_of(R"({"size": 8, "rescale_factor": "x"})"), HasSubstr("rescale_factor must be a number"));
  EXPECT_THAT(error_of(R"({"size": {"shortest_edge": 8}, "crop_pct": 0})"), HasSubstr("crop_pct must make"));
  EXPECT_THAT(error_of(R"({"size": 8, "image_processor_type": "LevitImageProcessor"})"),
              HasSubstr("known are ViT, DeiT"));
}

TEST(PreprocessorTest, AVeryNarrowPictureIsRefused) {
  const auto preprocessor = Preprocessor::from_json(
      R"({"size": {"shortest_edge": 256}, "do_normalize": false, "do_center_crop": true, "crop_size": 224})");
  ASSERT_TRUE(preprocessor.ok());
  image::Picture narrow{{1, 20000}, std::vector<std::uint8_t>(60000)};
  const auto refused = preprocessor->make_input(narrow);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("1 x 20000 pixels: it is too narrow"));
}

TEST(PreprocessorTest, TheLongerSideCanBeBounded) {
  const auto preprocessor = Preprocessor::from_json(
      R"({"size": {"shortest_edge": 20, "longest_edge": 30}, "do_normalize": false, "do_rescale": false})");
  ASSERT_TRUE(preprocessor.ok());
  const auto input = preprocessor->make_input({{10, 40}, std::vector<std::uint8_t>(1200, 7)});
  ASSERT_TRUE(input.ok());
  EXPECT_EQ(input->size, (image::Size{7, 30}));
  EXPECT_EQ(input->values, std::vector<float>(7 * 30 * 3, 7));
}

}  // namespace
}  // namespace thaw::onnx
