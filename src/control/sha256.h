// SHA-256 (FIPS 180-4), by OpenSSL, over text that comes in pieces.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

namespace thaw::control {

using Sha256Digest = std::array<unsigned char, 32>;

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::string_view bytes);
  // Once, last.
  Sha256Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Lower-case.
std::string hex(const Sha256Digest& digest);

}  // namespace thaw::control
