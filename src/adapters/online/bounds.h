// The bounds of ports/online_store.h, checked before a store is asked.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "ports/online_store.h"

namespace thaw::adapters {

Status check_online_table(std::string_view table);
Status check_online_keys(std::span<const ports::OnlineKey> keys);
Status check_online_rows(std::string_view table, std::span<const ports::OnlineRow> rows);
Status check_online_removal(std::string_view table, std::span<const std::string> keys);

// By the machine's clock of day.
std::int64_t online_now_ms();
inline bool online_expired(const ports::OnlineRow& row, std::int64_t now_ms) {
  return row.expires_ms != 0 && row.expires_ms <= now_ms;
}

}  // namespace thaw::adapters
