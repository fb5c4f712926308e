// Operating failures are values: Result<T> holds a T or an Error. gcc 12 has no <expected> in C++20 mode.
//
//   ASSIGN_OR_RETURN(const UniqueFd fd, sys::open(path, O_RDONLY));
//   RETURN_IF_ERROR(sys::write_all(fd, bytes));
#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace thaw {

// Each kind says what the caller can do about it. http_status() is the one table that maps kinds to HTTP.
enum class ErrorKind {
  invalid_argument,  // Change the request; the message names the field and the limit.
  forbidden,         // Not allowed to this caller, ever.
  not_found,         // The named thing does not exist.
  conflict,          // Somebody changed it meanwhile, or it exists: read again, decide again.
  too_large,         // Send less; the message names the limit.
  overloaded,        // Retry later, with backoff.
  timeout,           // It took longer than its bound; retry or raise the bound.
  function_failed,   // The function's own process crashed, exited, ran out of memory or spoke no HTTP.
  unavailable,       // Thaw is starting, draining, or lacks a resource now; retry.
  unsupported,       // This build or machine cannot do it.
  corrupt,           // Stored bytes fail their check: quarantine, never retry.
  internal,          // A system call failed or a bug; details are in the log.
};

// "InvalidArgument", "Overloaded", ... : stable names for JSON bodies and scripts.
std::string_view to_string(ErrorKind kind);
// The HTTP status that answers an error of this kind.
int http_status(ErrorKind kind);

struct Error {
  Error() = default;
  // A constructor, not an aggregate: g++ 12 destroys a braced aggregate in the arguments of a co_await twice.
  Error(ErrorKind error_kind, std::string error_message, std::string error_code = {})
      : kind(error_kind), message(std::move(error_message)), code(std::move(error_code)) {}

  ErrorKind kind = ErrorKind::internal;
  // For the caller: says what to do, never carries paths of the host or the function's own output.
  std::string message;
  // A finer name within the kind, for example "Function.OutOfMemory"; empty when the kind says all.
  std::string code;
};

inline Error invalid_argument(std::string message) { return {ErrorKind::invalid_argument, std::move(message)}; }
inline Error internal_error(std::string message) { return {ErrorKind::internal, std::move(message)}; }

template <class T = void>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: conversion intended
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: conversion intended

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  // value() on an error is a bug and aborts.
  T& value() & { return ok() ? *std::get_if<0>(&state_) : (std::abort(), *std::get_if<0>(&state_)); }
  const T& value() const& { return ok() ? *std::get_if<0>(&state_) : (std::abort(), *std::get_if<0>(&state_)); }
  T&& value() && { return std::move(value()); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(value()); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Error& error() & { return ok() ? (std::abort(), *std::get_if<1>(&state_)) : *std::get_if<1>(&state_); }
  const Error& error() const& { return ok() ? (std::abort(), *std::get_if<1>(&state_)) : *std::get_if<1>(&state_); }
  Error&& error() && { return std::move(error()); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: conversion intended

  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  Error& error() & { return error_ ? *error_ : (std::abort(), *error_); }
  const Error& error() const& { return error_ ? *error_ : (std::abort(), *error_); }
  Error&& error() && { return std::move(error()); }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace thaw

#define THAW_CONCAT_INNER(a, b) a##b
#define THAW_CONCAT(a, b) THAW_CONCAT_INNER(a, b)
#define RETURN_IF_ERROR(expression)                                                                \
  do {                                                                                             \
    if (auto thaw_status = (expression); !thaw_status.ok()) return std::move(thaw_status).error(); \
  } while (false)
#define ASSIGN_OR_RETURN_IMPL(temporary, declaration, expression) \
  auto temporary = (expression);                                  \
  if (!temporary.ok()) return std::move(temporary).error();       \
  declaration = std::move(temporary).value()
#define ASSIGN_OR_RETURN(declaration, expression) \
  ASSIGN_OR_RETURN_IMPL(THAW_CONCAT(thaw_result_, __LINE__), declaration, expression)
