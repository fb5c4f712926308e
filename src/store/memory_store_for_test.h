// An object store in this process's memory that fails as tests say. The real adapters have their own tests; what
// fetches do with failures needs failures on demand.
#pragma once

#include <algorithm>
#include <chrono>

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "ports/object_store.h"

namespace thaw::store {

class MemoryStoreForTest : public ports::ObjectStore {
 public:
  struct Object {
    std::string contents;
    std::string etag = "\"1\"";
    std::string sha256 = {};
  };

  void set(const std::string& key, Object object) {
    const std::lock_guard lock(mutex_);
    objects_[key] = std::move(object);
  }

  // Called before each read with how many there were before; an error breaks it off behind `give_first` bytes.
  struct Failure {
    Error error;
    std::size_t give_first = 0;
  };
  std::function<std::optional<Failure>(const ports::ObjectRange&, unsigned number)> on_read;
  std::function<Status(unsigned number)> on_head;
  std::atomic<unsigned> reads{0};
  std::atomic<unsigned> heads{0};

  Result<ports::ObjectInfo> head(const std::string& key, const ports::Call&) override {
    const unsigned number = heads++;
    if (on_head) RETURN_IF_ERROR(on_head(number));
    const std::lock_guard lock(mutex_);
    return info(key);
  }

  Status read(const ports::ObjectRange& range, const ports::PieceSink& sink, const ports::Call& call) override {
    const unsigned number = reads++;
    const auto failure = on_read ? on_read(range, number) : std::nullopt;
    if (call.is_cancelled()) return Error{ErrorKind::unavailable, "cancelled", "Fetch.Cancelled"};
    std::string bytes;
    {
      const std::lock_guard lock(mutex_);
      ASSIGN_OR_RETURN(const ports::ObjectInfo there, info(range.key));
      if (!range.if_match.empty() && range.if_match != there.etag) return Error{ErrorKind::conflict, "changed"};
      if (range.offset + range.bytes > there.bytes) return Error{ErrorKind::conflict, "shorter"};
      const std::uint64_t count = failure ? std::min<std::uint64_t>(failure->give_first, range.bytes) : range.bytes;
      bytes = objects_[range.key].contents.substr(range.offset, count);
    }
    // In pieces that fit no page and no digest's border.
    for (auto rest = std::as_bytes(std::span(bytes)); !rest.empty();) {
      const auto piece = rest.first(std::min<std::size_t>(rest.size(), 100003));
      RETURN_IF_ERROR(sink(piece));
      rest = rest.subspan(piece.size());
    }
    if (failure) return failure->error;
    return {};
  }

  Result<ports::ObjectPage> list(const ports::ObjectList& list, const ports::Call&) override {
    const std::lock_guard lock(mutex_);
    ports::ObjectPage page;
    for (auto at = objects_.upper_bound(list.after); at != objects_.end(); ++at) {
      if (!at->first.starts_with(list.prefix)) continue;
      if (page.objects.size() == 3) {
        page.next = page.objects.back().key;
        break;
      }
      page.objects.push_back(info(at->first).value());
    }
    return page;
  }

  Result<ports::ObjectInfo> put(const ports::ObjectUpload&, const UniqueFd&, const ports::Call&) override {
    return Error{ErrorKind::unsupported, "read only"};
  }
  Status remove(const std::string&, const ports::Call&) override { return Error{ErrorKind::unsupported, "read only"}; }

 private:
  Result<ports::ObjectInfo> info(const std::string& key) const {
    const auto at = objects_.find(key);
    if (at == objects_.end()) return Error{ErrorKind::not_found, "no such object"};
    return ports::ObjectInfo{key, at->second.contents.size(), at->second.etag, at->second.sha256};
  }

  std::mutex mutex_;
  std::map<std::string, Object> objects_;  // guarded by mutex_
};

}  // namespace thaw::store
