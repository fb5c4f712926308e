// Writes small GGUF files for tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace thaw::model {

class GgufWriter {
 public:
  GgufWriter& text(std::string_view key, std::string_view value) {
    begin(key, 8);
    put_text(keys_, value);
    return *this;
  }
  GgufWriter& number(std::string_view key, std::uint32_t value) {
    begin(key, 4);
    put(keys_, value);
    return *this;
  }
  GgufWriter& numbers(std::string_view key, const std::vector<std::uint32_t>& values) {
    begin(key, 9);
    put(keys_, std::uint32_t{4});
    put(keys_, std::uint64_t{values.size()});
    for (const std::uint32_t value : values) put(keys_, value);
    return *this;
  }
  // type: ggml_type; bytes: of its data.
  GgufWriter& tensor(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint32_t type,
                     std::uint64_t bytes) {
    put_text(tensors_, name);
    put(tensors_, static_cast<std::uint32_t>(shape.size()));
    for (const std::uint64_t length : shape) put(tensors_, length);
    put(tensors_, type);
    put(tensors_, std::uint64_t{data_.size()});
    data_.append(bytes, 't');
    data_.resize((data_.size() + 31) / 32 * 32);
    ++tensor_count_;
    return *this;
  }
  std::string file(std::uint32_t version = 3) const {
    std::string out = "GGUF";
    put(out, version);
    put(out, tensor_count_);
    put(out, key_count_);
    out += keys_ + tensors_;
    out.resize((out.size() + 31) / 32 * 32);
    return out + data_;
  }

 private:
  template <class Number>
  static void put(std::string& out, Number value) {
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    out.append(bytes, sizeof value);
  }
  static void put_text(std::string& out, std::string_view text) {
    put(out, std::uint64_t{text.size()});
    out += text;
  }
  void begin(std::string_view key, std::uint32_t type) {
    put_text(keys_, key);
    put(keys_, type);
    ++key_count_;
  }

  std::string keys_;
  std::string tensors_;
  std::string data_;
  std::uint64_t key_count_ = 0;
  std::uint64_t tensor_count_ = 0;
};

// A whole little file of a model, as llama.cpp's converters write the head.
inline GgufWriter small_gguf() {
  GgufWriter writer;
  writer.text("general.architecture", "llama").text("general.name", "Tiny").number("llama.context_length", 2048);
  writer.number("llama.block_count", 2).number("llama.embedding_length", 64).number("llama.attention.head_count", 8);
  writer.numbers("llama.attention.head_count_kv", {2, 4}).text("tokenizer.chat_template", "{{ messages }}");
  writer.tensor("token_embd.weight", {64, 100}, 8, 64 * 100 / 32 * 34).tensor("norm.weight", {64}, 0, 256);
  return writer;
}

}  // namespace thaw::model
