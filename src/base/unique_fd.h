// The only owner of a file descriptor. No implicit conversion to int or bool.
#pragma once

#include <utility>

namespace thaw {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // Gives ownership away.
  [[nodiscard]] int release() && { return std::exchange(fd_, -1); }
  // Closes. EINTR is not retried: Linux has released the number by then (close(2)).
  void reset();

 private:
  int fd_ = -1;
};

}  // namespace thaw
