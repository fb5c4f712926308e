// The model that ships, on the photos that ship, and broken copies of its folder.
#include "onnx/image_classification.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/json.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/base64.h"
#include "onnx/image_api.h"

namespace thaw::onnx {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::HasSubstr;

const fs::path kModel = fs::path(THAW_SOURCE_DIR) / "models/animals";
const fs::path kPhotos = fs::path(THAW_SOURCE_DIR) / "examples/animals/photos";

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

const ImageClassification& model() {
  static const auto loaded = ImageClassification::load(kModel.string(), {});
  return *loaded.value();
}

std::vector<Label> classify(const std::string& photo, const ClassifyOptions& options = {}) {
  const auto labels = model().classify(read(kPhotos / photo), options);
  EXPECT_TRUE(labels.ok()) << photo << ": " << (labels.ok() ? "" : labels.error().message);
  return labels.ok() ? *labels : std::vector<Label>();
}

TEST(ImageClassificationTest, NamesTheAnimals) {
  EXPECT_EQ(classify("panda.jpg").front().label, "giant panda, panda, panda bear, coon bear, Ailuropoda melanoleuca");
  EXPECT_EQ(classify("goldfish.webp").front().label, "goldfish, Carassius auratus");
  EXPECT_THAT(std::string(classify("crocodile.jpg").front().label), HasSubstr("crocodile"));
  EXPECT_THAT(std::string(classify("cat.jpg").front().label), HasSubstr("cat"));
}

TEST(ImageClassificationTest, OrientationIsHonoured) {
  const auto upright = classify("cat.jpg", {.top_k = 1});
  const auto sideways = classify("cat-sideways.jpg", {.top_k = 1});
  EXPECT_EQ(upright[0].label, sideways[0].label);
  EXPECT_NEAR(upright[0].score, sideways[0].score, 0.05);
}

TEST(ImageClassificationTest, FunctionsAndTopK) {
  const auto all = classify("panda.jpg", {.top_k = 1000, .function = ScoreFunction::softmax});
  ASSERT_EQ(all.size(), 1000u);
  double sum = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    sum += all[i].score;
    if (i > 0) {
      EXPECT_GE(all[i - 1].score, all[i].score);
    }
  }
  EXPECT_NEAR(sum, 1, 1e-9);
  EXPECT_EQ(classify("panda.jpg").size(), 5u);
  const double logit = classify("panda.jpg", {.function = ScoreFunction::none})[0].score;
  EXPECT_NEAR(classify("panda.jpg", {.function = ScoreFunction::sigmoid})[0].score, 1 / (1 + std::exp(-logit)), 1e-12);
  EXPECT_FALSE(model().classify(read(kPhotos / "panda.jpg"), {.top_k = 0}).ok());
  EXPECT_FALSE(model().classify(read(kPhotos / "panda.jpg"), {.top_k = 1001}).ok());
}

TEST(ImageClassificationTest, WhatIsNoPhotoIsRefused) {
  const auto refused = model().classify("<html>", {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::invalid_argument);
}

class BrokenClassifierTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = (fs::temp_directory_path() / "thaw-onnx-XXXXXX").string();
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    for (const char* name : {"model.onnx", "config.json", "preprocessor_config.json"})
      fs::copy(kModel / name, folder_ / name);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, std::string_view text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  // Of the file's own text.
  void change(const std::string& name, std::string_view from, std::string_view to) const {
    std::string text = read(folder_ / name);
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write(name, text.replace(at, from.size(), to));
  }
  Error load_error() const {
    const auto loaded = ImageClassification::load(folder_.string(), {});
    EXPECT_FALSE(loaded.ok());
    return loaded.ok() ? Error() : loaded.error();
  }

  fs::path folder_;
};

TEST_F(BrokenClassifierTest, TheTaskFollowsFromTheArchitecture) {
  EXPECT_EQ(detect_task(folder_.string()).value(), Task::image_classification);
  write("config.json", "{}");
  EXPECT_EQ(detect_task(folder_.string()).value(), Task::question_answering);
  EXPECT_EQ(task_named("image-classification"), Task::image_classification);
  EXPECT_EQ(task_named("telepathy"), std::nullopt);
}

TEST_F(BrokenClassifierTest, MissingFilesAreNamed) {
  fs::remove(folder_ / "preprocessor_config.json");
  EXPECT_THAT(load_error().message, HasSubstr("no preprocessor_config.json"));
  fs::remove(folder_ / "model.onnx");
  EXPECT_THAT(load_error().message, HasSubstr("no model.onnx"));
}

TEST_F(BrokenClassifierTest, WhatDoesNotFitTheModelIsRefused) {
  change("preprocessor_config.json", "\"height\": 224", "\"height\": 225");
  EXPECT_THAT(load_error().message, HasSubstr("224 x 225"));
  change("config.json", "\"999\":", "\"1001\":");
  EXPECT_THAT(load_error().message, HasSubstr("id2label.999 is missing"));
  write("config.json", R"({"id2label": {"0": "one"}})");
  EXPECT_THAT(load_error().message, HasSubstr("1000 labels, and config.json's id2label 1"));
  write("config.json", R"({"architectures": ["BertForQuestionAnswering"]})");
  EXPECT_THAT(load_error().message, HasSubstr("BertForQuestionAnswering"));
}

TEST_F(BrokenClassifierTest, AModelWithoutLabelsNumbersThem) {
  write("config.json", "{}");
  const auto loaded = ImageClassification::load(folder_.string(), {});
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ((*loaded)->labels().back(), "LABEL_999");
}

TEST_F(BrokenClassifierTest, AModelOfAnotherTaskIsRefused) {
  fs::copy_file(fs::path(THAW_SOURCE_DIR) / "models/qa/model.onnx", folder_ / "model.onnx",
                fs::copy_options::overwrite_existing);
  EXPECT_THAT(load_error().message, HasSubstr("it has 3 inputs"));
}

std::string photo_error(std::string_view query) {
  const auto parsed = parse_classify_photo(query, "x");
  return parsed.ok() ? "no error" : parsed.error().message;
}

std::string json_error(std::string_view body) {
  const auto parsed = parse_classify_json(body);
  return parsed.ok() ? "no error" : parsed.error().message;
}

TEST(ImageApiTest, BodiesAreToldApartByTheirType) {
  EXPECT_EQ(body_kind("image/jpeg"), BodyKind::photo);
  EXPECT_EQ(body_kind("IMAGE/PNG; q=1"), BodyKind::photo);
  EXPECT_EQ(body_kind(""), BodyKind::photo);
  EXPECT_EQ(body_kind("application/json; charset=utf-8"), BodyKind::json);
  EXPECT_EQ(body_kind("image/gif"), std::nullopt);
  EXPECT_EQ(body_kind("text/html"), std::nullopt);
}

TEST(ImageApiTest, RequestsThatAreNotUnderstoodNameTheParameter) {
  EXPECT_EQ(photo_error(""), "no error");
  EXPECT_EQ(photo_error("top_k=3&function_to_apply=Sigmoid"), "no error");
  EXPECT_THAT(photo_error("top_k=0"), HasSubstr("top_k: must be a whole number from 1 to 1000"));
  EXPECT_THAT(photo_error("top_k=1001"), HasSubstr("top_k: "));
  EXPECT_THAT(photo_error("top_k=3x"), HasSubstr("top_k: "));
  EXPECT_THAT(photo_error("top_k=3&top_k=3"), HasSubstr("given twice"));
  EXPECT_THAT(photo_error("topk=3"), HasSubstr("unknown parameter 'topk'"));
  EXPECT_THAT(photo_error("function_to_apply=relu"), HasSubstr("function_to_apply: must be one of"));
  EXPECT_EQ(json_error(R"({"inputs":"AAAA","parameters":{"top_k":2,"function_to_apply":null}})"), "no error");
  EXPECT_EQ(json_error(R"({"inputs":"data:image/png;base64,AAAA","parameters":null})"), "no error");
  EXPECT_THAT(json_error(""), HasSubstr("the body is empty"));
  EXPECT_THAT(json_error("{"), HasSubstr("not JSON"));
  EXPECT_THAT(json_error("{}"), HasSubstr("inputs: is missing"));
  EXPECT_THAT(json_error(R"({"inputs":5})"), HasSubstr("inputs: must be a string"));
  EXPECT_THAT(json_error(R"({"inputs":"?"})"), HasSubstr("inputs: is no base64"));
  EXPECT_THAT(json_error(R"({"inputs":"data:image/png,AAAA"})"), HasSubstr("inputs: a data URL"));
  EXPECT_THAT(json_error(R"({"inputs":"https://example.org/cat.jpg"})"), HasSubstr("inputs: is an address"));
  EXPECT_THAT(json_error(R"({"inputs":"AAAA","top_k":2})"), HasSubstr("unknown member 'top_k'"));
  EXPECT_THAT(json_error(R"({"inputs":"AAAA","parameters":{"top_k":1.5}})"), HasSubstr("top_k: "));
  EXPECT_THAT(json_error(R"({"inputs":"AAAA","parameters":{"function_to_apply":7}})"),
              HasSubstr("function_to_apply: "));
}

TEST(ImageApiTest, BothFormsCarryTheSamePhoto) {
  const std::string photo("\xff\xd8\0\x01", 4);
  EXPECT_EQ(parse_classify_photo("", photo)->photo, photo);
  EXPECT_EQ(parse_classify_json("{\"inputs\":\"" + base64_encoded(photo) + "\"}")->photo, photo);
  EXPECT_EQ(parse_classify_json("{\"inputs\":\"data:image/jpeg;base64," + base64_encoded(photo) + "\"}")->photo, photo);
}

TEST(ImageApiTest, DescriptionIsJsonWithEveryLimitFilledIn) {
  const std::string text = classify_openapi_json("a \"model\"", 1000);
  EXPECT_EQ(text.find('@'), std::string::npos);
  EXPECT_EQ(json::parse(text).at("info").at("x-model"), "a \"model\"");
  EXPECT_EQ(json::parse(classify_error_json(invalid_argument("top_k: too many"))).at("field"), "top_k");
  EXPECT_EQ(json::parse(classify_hello_json(model().config())).at("task"), "image-classification");
}

}  // namespace
}  // namespace thaw::onnx
