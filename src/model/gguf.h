// The head of a GGUF file, versions 2 and 3 ("GGUF", in the documentation of ggml): what Thaw needs to know of a model
// before an engine loads it, and whether the file is whole.
//
// The input may be anything: counts, lengths, types and offsets are checked before they are used, and nothing is
// allocated by a number that the file claims.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::model {

struct GgufInfo {
  std::uint32_t version = 0;
  std::uint64_t tensors = 0;
  std::string architecture;  // general.architecture: "llama"
  std::string name;          // general.name

  // Of the architecture's own keys; 0 where the file has none.
  std::uint64_t context_length = 0;
  std::uint64_t block_count = 0;
  std::uint64_t embedding_length = 0;
  std::uint64_t head_count = 0;
  std::uint64_t head_count_kv = 0;  // head_count where the file has none; the largest where layers differ
  std::uint64_t key_length = 0;     // embedding_length / head_count where the file has none
  std::uint64_t value_length = 0;
  bool has_pooling_type = false;  // an embedding model has one
  std::uint64_t pooling_type = 0;
  std::string chat_template;  // tokenizer.chat_template; empty: none

  std::uint64_t data_offset = 0;  // where the tensors' data begins
  std::uint64_t bytes = 0;        // from the file's start to its last tensor's end
};

// file: the whole file, mapped, or as much of its start as there is; file_bytes: its size. Errors: invalid_argument
// ("is not GGUF", or what in it cannot be), corrupt ("is cut short: N bytes are missing").
Result<GgufInfo> read_gguf(std::span<const std::byte> file, std::uint64_t file_bytes);
// Of a file, which must not become shorter meanwhile. Errors: also internal.
Result<GgufInfo> read_gguf(const UniqueFd& file);

}  // namespace thaw::model
