// SHA-256 (FIPS 180-4) over bytes that come in pieces, and HMAC-SHA-256 (RFC 2104), by OpenSSL.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace thaw {

using Sha256Digest = std::array<unsigned char, 32>;

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::string_view bytes);
  void update(std::span<const std::byte> bytes);
  // Once, last.
  Sha256Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Sha256Digest sha256(std::string_view bytes);
Sha256Digest hmac_sha256(std::string_view key, std::string_view message);

// Takes a time that depends on the lengths alone: for what must stay secret.
bool equal_in_constant_time(std::string_view a, std::string_view b);

// Lower-case.
std::string hex(const Sha256Digest& digest);
// Whether the text is a digest as hex() writes it.
bool is_sha256_hex(std::string_view text);

}  // namespace thaw
