// Lines as an enemy may write them: each byte is in one line, and none is longer than the bound. The first byte says
// what the bound is.
#include "base/text_lines.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/sys.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t bound = data[0];
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  thaw::UniqueFd file(::memfd_create("lines", MFD_CLOEXEC));
  if (!file.valid() || !thaw::sys::write_all(file, text).ok() || ::lseek(file.get(), 0, SEEK_SET) != 0) std::abort();
  thaw::TextLines lines(std::move(file), bound);
  std::uint64_t number = 0;
  std::size_t at = 0;
  while (true) {
    const auto line = lines.next();
    if (!line.ok()) std::abort();
    if (!*line) break;
    if ((*line)->number != ++number || (*line)->offset != at) std::abort();
    const std::size_t end = text.find('\n', at);
    if ((*line)->ended != (end != std::string::npos)) std::abort();
    std::string expected = text.substr(at, end == std::string::npos ? end : end - at);
    at += expected.size() + ((*line)->ended ? 1 : 0);
    if ((*line)->too_long != (expected.size() > bound)) std::abort();
    if (!(*line)->too_long && expected.ends_with('\r')) expected.pop_back();
    if (!(*line)->too_long && (*line)->text != expected) std::abort();
    if ((*line)->too_long && !expected.starts_with((*line)->text)) std::abort();
  }
  if (at != text.size() || lines.bytes_read() != at) std::abort();
  return 0;
}
