#include "onnx/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <string>

#include "base/sys.h"
#include "onnx/unicode.h"

namespace thaw::onnx {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

const std::string kSource = THAW_SOURCE_DIR;

std::string read(const std::string& path) {
  auto text = sys::read_file(kSource + "/" + path, 64 << 20);
  EXPECT_TRUE(text.ok()) << path << ": " << (text.ok() ? "" : text.error().message);
  return text.ok() ? *text : "";
}

Tokenizer must(Result<Tokenizer> tokenizer) {
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
  return std::move(tokenizer).value();
}

std::string shown(const json::array& ids, const json::array& offsets) {
  return json::serialize(ids) + " " + json::serialize(offsets);
}

// Every text must give the ids, offsets and words that Hugging Face's library gives.
void expect_agreement(const Tokenizer& tokenizer, const json::array& cases) {
  ASSERT_GT(cases.size(), 40u);
  for (const json::value& test_case : cases) {
    const std::string text(test_case.at("text").as_string());
    SCOPED_TRACE(json::serialize(test_case.at("text")));
    const Encoding encoding = tokenizer.encode(*decode_utf8(text));
    json::array ids;
    json::array offsets;
    json::array words;
    for (std::size_t i = 0; i < encoding.size(); ++i) {
      ids.push_back(encoding.ids[i]);
      const Span offset = tokenizer.trimmed_offset(encoding.ids[i], encoding.offsets[i], i);
      offsets.push_back(json::array{offset.begin, offset.end});
      words.push_back(encoding.words[i]);
    }
    EXPECT_EQ(shown(ids, offsets), shown(test_case.at("ids").as_array(), test_case.at("offsets").as_array()));
    EXPECT_EQ(json::serialize(words), json::serialize(test_case.at("words")));
  }
}

TEST(TokenizerTest, BertTemplateAgreesWithHuggingFace) {
  expect_agreement(must(Tokenizer::from_json(read("tests/data/onnx/bert/tokenizer.json"))),
                   json::parse(read("tests/data/onnx/bert/expected.json")).at("tokens").as_array());
}

TEST(TokenizerTest, CasedVocabTxtAgreesWithHuggingFace) {
  expect_agreement(must(Tokenizer::from_vocab_txt(read("tests/data/onnx/distilbert/vocab.txt"), {.lowercase = false})),
                   json::parse(read("tests/data/onnx/distilbert/expected.json")).at("tokens").as_array());
}

TEST(TokenizerTest, RobertaBytePairsAgreeWithHuggingFace) {
  expect_agreement(must(Tokenizer::from_json(read("tests/data/onnx/roberta/tokenizer.json"))),
                   json::parse(read("tests/data/onnx/roberta/expected.json")).at("tokens").as_array());
}

TEST(TokenizerTest, NormalizersAndPreTokenizersAgreeWithHuggingFace) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kSource + "/tests/data/onnx/tokenizers")) {
    SCOPED_TRACE(entry.path().filename().string());
    const json::value document = json::parse(read("tests/data/onnx/tokenizers/" + entry.path().filename().string()));
    expect_agreement(must(Tokenizer::from_json(json::serialize(document.at("tokenizer")))),
                     document.at("tokens").as_array());
    ++count;
  }
  EXPECT_EQ(count, 7u);
}

void expect_agreement_with_shipped_vectors(const Tokenizer& tokenizer) {
  const json::value vectors = json::parse(read("models/qa/tokenizer_vectors.json"));
  ASSERT_GT(vectors.at("cases").as_array().size(), 20u);
  for (const json::value& test_case : vectors.at("cases").as_array()) {
    SCOPED_TRACE(json::serialize(test_case.at("text")));
    const Encoding encoding = tokenizer.encode(*decode_utf8(std::string(test_case.at("text").as_string())));
    json::array ids{101};
    json::array offsets{json::array{0, 0}};
    for (std::size_t i = 0; i < encoding.size(); ++i) {
      ids.push_back(encoding.ids[i]);
      offsets.push_back(json::array{encoding.offsets[i].begin, encoding.offsets[i].end});
    }
    ids.push_back(102);
    offsets.push_back(json::array{0, 0});
    EXPECT_EQ(shown(ids, offsets), shown(test_case.at("input_ids").as_array(), test_case.at("offsets").as_array()));
  }
}

TEST(TokenizerTest, ShippedModelAgreesWithHuggingFace) {
  expect_agreement_with_shipped_vectors(must(Tokenizer::from_json(read("models/qa/tokenizer.json"))));
}

TEST(TokenizerTest, ShippedVocabTxtAloneGivesTheSame) {
  expect_agreement_with_shipped_vectors(must(Tokenizer::from_vocab_txt(read("models/qa/vocab.txt"), {})));
}

std::string error_of(const std::string& text) {
  auto tokenizer = Tokenizer::from_json(text);
  return tokenizer.ok() ? "no error" : tokenizer.error().message;
}

constexpr const char* kWordPiece = R"({"type":"WordPiece","unk_token":"[UNK]","vocab":{"[UNK]":0,"a":1}})";

TEST(TokenizerTest, MalformedFilesAreRefusedByTheNameOfTheField) {
  EXPECT_THAT(error_of(""), HasSubstr("not JSON"));
  EXPECT_THAT(error_of("[]"), HasSubstr("must be an object"));
  EXPECT_THAT(error_of("{}"), HasSubstr("model is missing"));
  EXPECT_THAT(error_of(R"({"model":{"type":"Unigram","vocab":[]}})"), HasSubstr("Unigram"));
  EXPECT_THAT(error_of(R"({"model":{"type":"WordPiece","vocab":7}})"), HasSubstr("model.vocab must be an object"));
  EXPECT_THAT(error_of(R"({"model":{"type":"WordPiece","vocab":{"a":-1}}})"), HasSubstr("model.vocab['a']"));
  EXPECT_THAT(error_of(R"({"model":{"type":"WordPiece","vocab":{"a":99999999}}})"), HasSubstr("model.vocab['a']"));
  EXPECT_THAT(error_of(R"({"model":{"type":"WordPiece","vocab":{"[UNK]":1,"a":1}}})"),
              HasSubstr("given to two tokens"));
  EXPECT_THAT(error_of(R"({"model":{"type":"WordPiece","vocab":{"a":1}}})"), HasSubstr("unknown token '[UNK]'"));
  EXPECT_THAT(error_of(R"({"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}})"),
              HasSubstr("model.merges[0]: the token 'ab' is not in model.vocab"));
  EXPECT_THAT(error_of(R"({"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["ab"]}})"),
              HasSubstr("model.merges[0] must be two tokens"));
  EXPECT_THAT(error_of(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1}})"),
              HasSubstr("model.dropout is not supported"));
  const std::string model = std::string(R"({"model":)") + kWordPiece;
  EXPECT_EQ(error_of(model + "}"), "no error");
  EXPECT_THAT(error_of(model + R"(,"normalizer":{"type":"Precompiled"}})"), HasSubstr("Precompiled"));
  EXPECT_THAT(error_of(model + R"(,"normalizer":{"type":"BertNormalizer"}})"), HasSubstr("normalizer.clean_text"));
  EXPECT_THAT(error_of(model + R"(,"pre_tokenizer":{"type":"Metaspace"}})"), HasSubstr("Metaspace"));
  EXPECT_THAT(error_of(model + R"(,"added_tokens":[{"id":5,"content":"a"}]})"),
              HasSubstr("added_tokens[0].id is 5, but the vocabulary gives 'a' the id 1"));
  EXPECT_THAT(error_of(model + R"(,"post_processor":{"type":"BertProcessing","sep":["[SEP]",3],"cls":["a",1]}})"),
              HasSubstr("post_processor.sep"));
  EXPECT_THAT(error_of(model + R"(,"post_processor":{"type":"TemplateProcessing","single":[],"pair":[],
                       "special_tokens":{}}})"),
              HasSubstr("post_processor.pair must be a template with A and B once each"));
}

TEST(TokenizerTest, DeepNestingIsRefused) {
  const std::string deep = R"({"model":)" + std::string(100, '[') + std::string(100, ']') + "}";
  EXPECT_THAT(error_of(deep), HasSubstr("not JSON"));
}

TEST(TokenizerTest, VocabTxtWithDuplicatesOrWithoutItsSpecialTokensIsRefused) {
  const auto duplicate = Tokenizer::from_vocab_txt("[UNK]\n[CLS]\n[SEP]\na\na\n", {});
  ASSERT_FALSE(duplicate.ok());
  EXPECT_THAT(duplicate.error().message, HasSubstr("line 5: the token 'a' is there twice"));
  const auto bare = Tokenizer::from_vocab_txt("[UNK]\na\n", {});
  ASSERT_FALSE(bare.ok());
  EXPECT_THAT(bare.error().message, HasSubstr("[CLS] and [SEP]"));
}

TEST(TokenizerTest, OneWordOfAMillionLettersTakesNoQuadraticTime) {
  const Tokenizer tokenizer = must(Tokenizer::from_json(read("tests/data/onnx/roberta/tokenizer.json")));
  const Encoding encoding = tokenizer.encode(std::u32string(1'000'000, U'e'));
  EXPECT_GT(encoding.size(), 100'000u);
  EXPECT_EQ(encoding.offsets.back().end, 1'000'000u);
}

TEST(UnicodeTest, IllFormedUtf8IsRefusedWithItsPosition) {
  for (const char* bytes : {"ab\xff", "ab\xc0\x80", "ab\xed\xa0\x80", "ab\xf4\x90\x80\x80", "ab\xe2\x82"}) {
    const auto text = decode_utf8(bytes);
    ASSERT_FALSE(text.ok());
    EXPECT_THAT(text.error().message, HasSubstr("byte 2"));
  }
}

}  // namespace
}  // namespace thaw::onnx
