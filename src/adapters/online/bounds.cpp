#include "adapters/online/bounds.h"

#include <chrono>

namespace thaw::adapters {

namespace {

Status check_key(std::string_view key) {
  if (!key.empty() && key.size() <= ports::kOnlineKeyBytesMax) return {};
  return invalid_argument("a key of an online store has 1 to " + std::to_string(ports::kOnlineKeyBytesMax) +
                          " bytes, not " + std::to_string(key.size()));
}

Status check_count(std::size_t count) {
  if (count <= ports::kOnlineKeysMax) return {};
  return invalid_argument("an online store takes at most " + std::to_string(ports::kOnlineKeysMax) +
                          " keys at once, not " + std::to_string(count));
}

}  // namespace

Status check_online_table(std::string_view table) {
  if (table.empty() || table.size() > ports::kOnlineTableBytesMax || table.find('\0') != std::string_view::npos)
    return invalid_argument("a table of an online store has a name of 1 to " +
                            std::to_string(ports::kOnlineTableBytesMax) + " bytes, none of them zero");
  return {};
}

Status check_online_keys(std::span<const ports::OnlineKey> keys) {
  RETURN_IF_ERROR(check_count(keys.size()));
  for (const ports::OnlineKey& key : keys) {
    RETURN_IF_ERROR(check_online_table(key.table));
    RETURN_IF_ERROR(check_key(key.key));
  }
  return {};
}

Status check_online_rows(std::string_view table, std::span<const ports::OnlineRow> rows) {
  RETURN_IF_ERROR(check_online_table(table));
  RETURN_IF_ERROR(check_count(rows.size()));
  for (const ports::OnlineRow& row : rows) {
    RETURN_IF_ERROR(check_key(row.key));
    if (row.value.size() > ports::kOnlineValueBytesMax)
      return invalid_argument("a value of an online store has at most " + std::to_string(ports::kOnlineValueBytesMax) +
                              " bytes, not " + std::to_string(row.value.size()));
  }
  return {};
}

Status check_online_removal(std::string_view table, std::span<const std::string> keys) {
  RETURN_IF_ERROR(check_online_table(table));
  RETURN_IF_ERROR(check_count(keys.size()));
  for (const std::string& key : keys) RETURN_IF_ERROR(check_key(key));
  return {};
}

std::int64_t online_now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace thaw::adapters
