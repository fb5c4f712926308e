#include "onnx/vocabulary.h"

#include <fmt/format.h>

namespace thaw::onnx {

Result<Vocabulary> Vocabulary::from_json(const JsonField& field) {
  ASSIGN_OR_RETURN(const boost::json::object* members, field.object());
  if (members->empty()) return invalid_argument(field.path() + " is empty");
  Vocabulary vocabulary;
  vocabulary.ids_.reserve(members->size() + 16);
  for (const auto& member : *members) {
    const std::string_view token(member.key().data(), member.key().size());
    ASSIGN_OR_RETURN(const std::uint64_t id,
                     JsonField(member.value(), fmt::format("{}['{}']", field.path(), token.substr(0, 64)))
                         .unsigned_number(kTokenIdMax));
    RETURN_IF_ERROR(vocabulary.add(token, static_cast<TokenId>(id), field.path()));
  }
  return vocabulary;
}

Result<Vocabulary> Vocabulary::from_lines(std::string_view text, std::string_view document) {
  Vocabulary vocabulary;
  TokenId id = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    RETURN_IF_ERROR(vocabulary.add(line, id, fmt::format("{}: line {}", document, id + 1)));
    if (++id > kTokenIdMax) return invalid_argument(fmt::format("{}: more than {} tokens", document, kTokenIdMax));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  if (id == 0) return invalid_argument(fmt::format("{}: is empty", document));
  return vocabulary;
}

std::optional<TokenId> Vocabulary::find(std::string_view token) const {
  const auto found = ids_.find(std::string(token));
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

Status Vocabulary::add(std::string_view token, TokenId id, std::string_view where) {
  if (token.size() > kTokenBytesMax) {
    return invalid_argument(
        fmt::format("{}: a token of {} bytes; the limit is {}", where, token.size(), kTokenBytesMax));
  }
  if (!ids_.try_emplace(std::string(token), id).second) {
    return invalid_argument(fmt::format("{}: the token '{}' is there twice", where, token.substr(0, 64)));
  }
  if (id >= used_.size()) used_.resize(id + 1);
  if (used_[id]) return invalid_argument(fmt::format("{}: the id {} is given to two tokens", where, id));
  used_[id] = true;
  return {};
}

}  // namespace thaw::onnx
