// What a tokenizer does to a text before it looks at words: the normalizers of tokenizer.json that the BERT and RoBERTa
// families use (BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Sequence).
#pragma once

#include <variant>
#include <vector>

#include "base/result.h"
#include "onnx/aligned_text.h"
#include "onnx/json_field.h"

namespace thaw::onnx {

// Threads: immutable once made.
class Normalizer {
 public:
  struct Bert {
    bool clean_text = true;
    bool handle_chinese_chars = true;
    bool strip_accents = true;
    bool lowercase = true;
  };

  Normalizer() = default;
  explicit Normalizer(Bert bert) : steps_{bert} {}
  // field: the document's "normalizer"; null means none. Errors: invalid_argument naming the field; unsupported for a
  // type of another family.
  static Result<Normalizer> from_json(const JsonField& field);

  bool empty() const { return steps_.empty(); }
  void apply(AlignedText& text) const;

 private:
  struct Lowercase {};
  struct StripAccents {};
  struct Strip {
    bool left = true;
    bool right = true;
  };
  using Step = std::variant<Bert, NormalForm, Lowercase, StripAccents, Strip>;

  static Status add_from_json(const JsonField& field, std::vector<Step>& steps);

  std::vector<Step> steps_;
};

}  // namespace thaw::onnx
