#include "model/gguf.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <optional>
#include <string_view>

#include "base/sys.h"

namespace thaw::model {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is little-endian, and is read as it lies");

// Bounds far above real files': llama.cpp's largest have some thousands of tensors and some hundred keys.
constexpr std::uint64_t kTensorsMax = 1 << 20;
constexpr std::uint64_t kKeysMax = 1 << 16;
constexpr std::uint64_t kKeyBytesMax = 65535;  // the format's own
constexpr std::uint64_t kTextBytesMax = 16 << 20;
constexpr std::uint64_t kArrayItemsMax = 1ULL << 28;
constexpr std::uint32_t kDimensionsMax = 4;
constexpr unsigned kArrayDepthMax = 4;
constexpr std::uint64_t kAlignmentDefault = 32;
constexpr std::uint64_t kAlignmentMax = 1 << 20;

// enum gguf_metadata_value_type.
enum ValueType : std::uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
  kTypes
};
constexpr std::array<std::uint8_t, kTypes> kValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// enum ggml_type: how many elements a block has, and its bytes (ggml.c, type_traits). Zero: no such type (any more).
struct TensorType {
  std::uint16_t elements;
  std::uint16_t bytes;
};
constexpr std::array<TensorType, 42> kTensorTypes = {{
    {1, 4},    {1, 2},     {32, 18},   {32, 20},   {0, 0},     {0, 0},     {32, 22},  {32, 24},
    {32, 34},  {32, 36},                                                                           // F32 … Q8_1
    {256, 84}, {256, 110}, {256, 144}, {256, 176}, {256, 210}, {256, 292},                         // Q2_K … Q8_K
    {256, 66}, {256, 74},  {256, 98},  {256, 50},  {32, 18},   {256, 110}, {256, 82}, {256, 136},  // IQ2_XXS … IQ4_XS
    {1, 1},    {1, 2},     {1, 4},     {1, 8},     {1, 8},     {256, 56},  {1, 2},                 // I8 … BF16
    {0, 0},    {0, 0},     {0, 0},     {256, 54},  {256, 66},  {0, 0},     {0, 0},    {0, 0},
    {32, 17},  {64, 36},   {0, 0},  // TQ1_0 … NVFP4
}};

Error cut_short(std::uint64_t missing) {
  return {ErrorKind::corrupt, "is cut short: " + (missing == 0 ? std::string("its head is not whole")
                                                               : std::to_string(missing) + " bytes are missing")};
}

Error bad(std::string_view what) { return invalid_argument("is damaged GGUF: " + std::string(what)); }

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <class Number>
  Result<Number> number() {
    if (left() < sizeof(Number)) return cut_short(0);
    Number value;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  Result<std::string_view> text(std::uint64_t bytes_max) {
    ASSIGN_OR_RETURN(const auto length, number<std::uint64_t>());
    if (length > bytes_max) return bad("a text of " + std::to_string(length) + " bytes");
    if (length > left()) return cut_short(0);
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data() + at_), length);
    at_ += length;
    return text;
  }
  Status skip(std::uint64_t count) {
    if (count > left()) return cut_short(0);
    at_ += count;
    return {};
  }
  std::uint64_t left() const { return bytes_.size() - at_; }
  std::uint64_t at() const { return at_; }

 private:
  std::span<const std::byte> bytes_;
  std::uint64_t at_ = 0;
};

// A value that is kept: a whole number (of an array the largest), or a text. Everything else is passed over.
struct Value {
  std::optional<std::uint64_t> number;
  std::string_view text;
};

Result<std::optional<std::uint64_t>> read_whole(Reader& reader, std::uint32_t type) {
  const auto positive = [](std::int64_t value) -> std::optional<std::uint64_t> {
    if (value < 0) return std::nullopt;
    return static_cast<std::uint64_t>(value);
  };
  std::optional<std::uint64_t> value;
  switch (type) {
    case kUint8:
    case kBool: {
      ASSIGN_OR_RETURN(value, reader.number<std::uint8_t>());
      break;
    }
    case kUint16: {
      ASSIGN_OR_RETURN(value, reader.number<std::uint16_t>());
      break;
    }
    case kUint32: {
      ASSIGN_OR_RETURN(value, reader.number<std::uint32_t>());
      break;
    }
    case kUint64: {
      ASSIGN_OR_RETURN(value, reader.number<std::uint64_t>());
      break;
    }
    case kInt8: {
      ASSIGN_OR_RETURN(const auto number, reader.number<std::int8_t>());
      value = positive(number);
      break;
    }
    case kInt16: {
      ASSIGN_OR_RETURN(const auto number, reader.number<std::int16_t>());
      value = positive(number);
      break;
    }
    case kInt32: {
      ASSIGN_OR_RETURN(const auto number, reader.number<std::int32_t>());
      value = positive(number);
      break;
    }
    case kInt64: {
      ASSIGN_OR_RETURN(const auto number, reader.number<std::int64_t>());
      value = positive(number);
      break;
    }
    default: {
      RETURN_IF_ERROR(reader.skip(kValueBytes[type]));
      break;
    }
  }
  return value;
}

Result<Value> read_value(Reader& reader, std::uint32_t type, unsigned depth);

Result<Value> read_array(Reader& reader, unsigned depth) {
  if (depth >= kArrayDepthMax) return bad("arrays nested too deep");
  ASSIGN_OR_RETURN(const auto type, reader.number<std::uint32_t>());
  ASSIGN_OR_RETURN(const auto count, reader.number<std::uint64_t>());
  if (type >= kTypes) return bad("a value of an unknown type");
  if (count > kArrayItemsMax) return bad("an array of " + std::to_string(count) + " items");
  Value largest;
  for (std::uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const Value item, read_value(reader, type, depth + 1));
    if (item.number && (!largest.number || *item.number > *largest.number)) largest.number = item.number;
  }
  return largest;
}

Result<Value> read_value(Reader& reader, std::uint32_t type, unsigned depth) {
  if (type >= kTypes) return bad("a value of an unknown type");
  Value value;
  if (type == kString) {
    ASSIGN_OR_RETURN(value.text, reader.text(kTextBytesMax));
    return value;
  }
  if (type == kArray) return read_array(reader, depth);
  ASSIGN_OR_RETURN(value.number, read_whole(reader, type));
  return value;
}

// Where the tensor's data ends, counted from the data's beginning.
Result<std::uint64_t> read_tensor(Reader& reader, std::uint64_t alignment) {
  ASSIGN_OR_RETURN([[maybe_unused]] const auto name, reader.text(kKeyBytesMax));
  ASSIGN_OR_RETURN(const auto dimensions, reader.number<std::uint32_t>());
  if (dimensions > kDimensionsMax) return bad("a tensor of " + std::to_string(dimensions) + " dimensions");
  std::uint64_t elements = 1;
  std::uint64_t row = 1;
  for (std::uint32_t i = 0; i < dimensions; ++i) {
    ASSIGN_OR_RETURN(const auto length, reader.number<std::uint64_t>());
    if (i == 0) row = length;
    if (__builtin_mul_overflow(elements, length, &elements)) return bad("a tensor that is too large");
  }
  ASSIGN_OR_RETURN(const auto type, reader.number<std::uint32_t>());
  ASSIGN_OR_RETURN(const auto offset, reader.number<std::uint64_t>());
  // A type that came after this code: its size is not known, its beginning is.
  const TensorType known = type < kTensorTypes.size() ? kTensorTypes[type] : TensorType{0, 0};
  if (offset % alignment != 0) return bad("a tensor's data is not aligned");
  std::uint64_t bytes = 0;
  if (known.elements != 0) {
    if (row % known.elements != 0) return bad("a tensor's row is no whole number of blocks");
    if (__builtin_mul_overflow(elements / known.elements, std::uint64_t{known.bytes}, &bytes))
      return bad("a tensor that is too large");
  }
  std::uint64_t end = 0;
  if (__builtin_add_overflow(offset, bytes, &end) || end > (1ULL << 62)) return bad("a tensor that is too large");
  return end;
}

using Values = std::map<std::string, Value, std::less<>>;

bool is_wanted(std::string_view key) {
  static constexpr std::string_view kEnds[] = {
      ".context_length",          ".block_count",          ".embedding_length",       ".attention.head_count",
      ".attention.head_count_kv", ".attention.key_length", ".attention.value_length", ".pooling_type"};
  if (key == "general.architecture" || key == "general.name" || key == "general.alignment" ||
      key == "tokenizer.chat_template")
    return true;
  return std::any_of(std::begin(kEnds), std::end(kEnds), [&](std::string_view end) { return key.ends_with(end); });
}

void fill(const Values& values, GgufInfo& info) {
  const auto text = [&](std::string_view key) {
    const auto at = values.find(key);
    return at == values.end() ? std::string() : std::string(at->second.text);
  };
  const auto own = [&](std::string_view key) -> std::optional<std::uint64_t> {
    const auto at = values.find(info.architecture + std::string(key));
    return at == values.end() ? std::nullopt : at->second.number;
  };
  info.architecture = text("general.architecture");
  info.name = text("general.name");
  info.chat_template = text("tokenizer.chat_template");
  info.context_length = own(".context_length").value_or(0);
  info.block_count = own(".block_count").value_or(0);
  info.embedding_length = own(".embedding_length").value_or(0);
  info.head_count = own(".attention.head_count").value_or(0);
  info.head_count_kv = own(".attention.head_count_kv").value_or(info.head_count);
  const std::uint64_t head = info.head_count == 0 ? 0 : info.embedding_length / info.head_count;
  info.key_length = own(".attention.key_length").value_or(head);
  info.value_length = own(".attention.value_length").value_or(head);
  info.has_pooling_type = own(".pooling_type").has_value();
  info.pooling_type = own(".pooling_type").value_or(0);
}

}  // namespace

Result<GgufInfo> read_gguf(std::span<const std::byte> file, std::uint64_t file_bytes) {
  Reader reader(file);
  if (file.size() < 4 || std::memcmp(file.data(), "GGUF", 4) != 0) return invalid_argument("is not GGUF");
  RETURN_IF_ERROR(reader.skip(4));
  GgufInfo info;
  ASSIGN_OR_RETURN(info.version, reader.number<std::uint32_t>());
  if (info.version < 2 || info.version > 3) {
    const bool swapped = __builtin_bswap32(info.version) >= 2 && __builtin_bswap32(info.version) <= 3;
    return invalid_argument(swapped ? "is big-endian GGUF, which is not supported"
                                    : "is GGUF of version " + std::to_string(info.version) + "; 2 and 3 are supported");
  }
  ASSIGN_OR_RETURN(info.tensors, reader.number<std::uint64_t>());
  ASSIGN_OR_RETURN(const auto keys, reader.number<std::uint64_t>());
  if (info.tensors > kTensorsMax) return bad(std::to_string(info.tensors) + " tensors");
  if (keys > kKeysMax) return bad(std::to_string(keys) + " keys");
  Values values;
  for (std::uint64_t i = 0; i < keys; ++i) {
    ASSIGN_OR_RETURN(const std::string_view key, reader.text(kKeyBytesMax));
    ASSIGN_OR_RETURN(const auto type, reader.number<std::uint32_t>());
    ASSIGN_OR_RETURN(const Value value, read_value(reader, type, 0));
    if (is_wanted(key)) values.insert_or_assign(std::string(key), value);
  }
  std::uint64_t alignment = kAlignmentDefault;
  if (const auto at = values.find("general.alignment"); at != values.end() && at->second.number)
    alignment = *at->second.number;
  if (alignment == 0 || alignment > kAlignmentMax || !std::has_single_bit(alignment)) return bad("its alignment");
  std::uint64_t data_bytes = 0;
  for (std::uint64_t i = 0; i < info.tensors; ++i) {
    ASSIGN_OR_RETURN(const std::uint64_t end, read_tensor(reader, alignment));
    data_bytes = std::max(data_bytes, end);
  }
  fill(values, info);
  info.data_offset = (reader.at() + alignment - 1) / alignment * alignment;
  info.bytes = info.data_offset + data_bytes;
  if (info.bytes > file_bytes) return cut_short(info.bytes - file_bytes);
  if (info.architecture.empty()) return bad("it names no architecture");
  return info;
}

Result<GgufInfo> read_gguf(const UniqueFd& file) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return sys::errno_error("the model file");
  const auto bytes = static_cast<std::size_t>(status.st_size);
  if (bytes == 0) return invalid_argument("is not GGUF");
  void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) return sys::errno_error("map the model file");
  auto info = read_gguf(std::span(static_cast<const std::byte*>(memory), bytes), bytes);
  ::munmap(memory, bytes);
  return info;
}

}  // namespace thaw::model
