#include "base/result.h"

namespace thaw {
namespace {

struct KindRow {
  ErrorKind kind;
  std::string_view name;
  int http_status;
};

constexpr KindRow kKinds[] = {
    {ErrorKind::invalid_argument, "InvalidArgument", 400},
    {ErrorKind::forbidden, "Forbidden", 403},
    {ErrorKind::not_found, "NotFound", 404},
    {ErrorKind::conflict, "Conflict", 409},
    {ErrorKind::too_large, "TooLarge", 413},
    {ErrorKind::overloaded, "Overloaded", 429},
    {ErrorKind::timeout, "Timeout", 504},
    {ErrorKind::function_failed, "FunctionFailed", 502},
    {ErrorKind::unavailable, "Unavailable", 503},
    {ErrorKind::unsupported, "Unsupported", 501},
    {ErrorKind::corrupt, "Corrupt", 500},
    {ErrorKind::internal, "Internal", 500},
};

const KindRow& row_of(ErrorKind kind) {
  for (const KindRow& row : kKinds) {
    if (row.kind == kind) return row;
  }
  std::abort();
}

}  // namespace

std::string_view to_string(ErrorKind kind) { return row_of(kind).name; }
int http_status(ErrorKind kind) { return row_of(kind).http_status; }

}  // namespace thaw
