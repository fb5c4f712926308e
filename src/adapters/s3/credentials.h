// Credentials that are good now: the fixed ones, or those of a container's or an instance's metadata, renewed before
// they end.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>

#include "adapters/curl/transport.h"
#include "adapters/s3/settings.h"

namespace thaw::adapters {

// Ownership: borrows settings and transport. Threads: any; one of them asks, the others wait for it.
class CredentialProvider {
 public:
  CredentialProvider(const S3Settings& settings, Transport& transport) : settings_(settings), transport_(transport) {}

  // Nothing: there are none, and requests go out unsigned, for public buckets. Errors: unavailable, forbidden.
  Result<std::optional<Credentials>> get(const ports::Call& call);
  // The store has refused these: the next get() gives others. False where there are none to be had.
  bool renew(const Credentials& refused);

 private:
  using Clock = std::chrono::system_clock;
  Result<std::optional<Credentials>> ask(const ports::Call& call);
  Result<std::optional<Credentials>> ask_container(const ports::Call& call);
  Result<std::optional<Credentials>> ask_metadata(const ports::Call& call);
  Result<std::optional<Credentials>> take(const std::string& json);

  const S3Settings& settings_;
  Transport& transport_;
  std::mutex mutex_;  // held while one thread asks: the others need what it brings
  std::optional<Credentials> held_;
  Clock::time_point good_until_{};
};

}  // namespace thaw::adapters
