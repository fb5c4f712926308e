// An online store of this process for tests of what lies in front of one: it counts what it is asked, can be held up,
// and can be away. Rows do not expire.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "ports/online_store.h"

namespace thaw::features {

class CountingStore : public ports::OnlineStore {
 public:
  Status write(std::string_view table, std::span<const ports::OnlineRow> rows) override {
    const std::lock_guard lock(mutex_);
    if (away) return Error(ErrorKind::unavailable, "counting store: away");
    for (const ports::OnlineRow& row : rows) {
      auto [at, added] = rows_.emplace(std::pair(std::string(table), row.key), row);
      const ports::OnlineRow& there = at->second;
      if (!added && std::pair(row.event_ms, row.created_ms) >= std::pair(there.event_ms, there.created_ms))
        at->second = row;
    }
    return {};
  }
  Result<std::vector<std::optional<ports::OnlineRow>>> read(std::span<const ports::OnlineKey> keys) override {
    std::unique_lock lock(mutex_);
    ++reads;
    keys_read += keys.size();
    std::vector<std::optional<ports::OnlineRow>> rows;
    for (const ports::OnlineKey& key : keys) {
      const auto found = rows_.find({std::string(key.table), std::string(key.key)});
      rows.push_back(found == rows_.end() ? std::nullopt : std::optional(found->second));
    }
    changed_.notify_all();
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [this] { return !held_; }));
    if (away) return Error(ErrorKind::unavailable, "counting store: away");
    return rows;
  }
  Result<std::vector<ports::OnlineRow>> scan(std::string_view, std::string_view, std::size_t) override {
    return std::vector<ports::OnlineRow>();
  }
  Status remove(std::string_view table, std::span<const std::string> keys) override {
    const std::lock_guard lock(mutex_);
    for (const std::string& key : keys) rows_.erase({std::string(table), key});
    return {};
  }
  Status drop(std::string_view table) override {
    const std::lock_guard lock(mutex_);
    std::erase_if(rows_, [&](const auto& row) { return row.first.first == table; });
    return {};
  }
  std::string name() const override { return "counting store"; }

  // Reads take their rows, but do not return.
  void hold() {
    const std::lock_guard lock(mutex_);
    held_ = true;
  }
  void release() {
    const std::lock_guard lock(mutex_);
    held_ = false;
    changed_.notify_all();
  }
  void await_reads(int count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return reads >= count; }));
  }

  std::atomic<bool> away = false;
  std::atomic<int> reads = 0;
  std::atomic<std::size_t> keys_read = 0;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  std::map<std::pair<std::string, std::string>, ports::OnlineRow> rows_;
};

}  // namespace thaw::features
