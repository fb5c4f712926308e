// Writes zips for tests, well-formed or broken on purpose (APPNOTE.TXT 6.3.10, PKWARE). Stored entries only.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace thaw::control {

inline std::uint32_t crc32_of(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0);
  }
  return ~crc;
}

struct ZipEntry {
  std::string name;
  std::string content;
  std::uint32_t mode = 0100644;  // as st_mode
  std::uint16_t flags = 0;       // 1: encrypted, 0x800: the name is UTF-8
  std::uint16_t method = 0;
  std::uint32_t crc_change = 0;  // XORed into the checksum
  std::uint32_t claimed_size_more = 0;
};

class ZipForTest {
 public:
  ZipForTest& add(ZipEntry entry) {
    entries_.push_back(std::move(entry));
    return *this;
  }
  ZipForTest& file(std::string name, std::string content) {
    return add({.name = std::move(name), .content = std::move(content)});
  }
  ZipForTest& link(std::string name, std::string target) {
    return add({.name = std::move(name), .content = std::move(target), .mode = 0120777});
  }

  std::string bytes() const {
    std::string out, directory;
    for (const ZipEntry& entry : entries_) {
      const auto offset = static_cast<std::uint32_t>(out.size());
      const std::uint32_t crc = crc32_of(entry.content) ^ entry.crc_change;
      const auto size = static_cast<std::uint32_t>(entry.content.size());
      std::string common;
      put16(common, 20);
      put16(common, entry.flags);
      put16(common, entry.method);
      put32(common, 0x58210000);  // time and date
      put32(common, crc);
      put32(common, size);
      put32(common, size + entry.claimed_size_more);
      put16(common, static_cast<std::uint16_t>(entry.name.size()));
      put16(common, 0);
      out += "PK\x03\x04" + common + entry.name + entry.content;
      directory += "PK\x01\x02";
      put16(directory, 0x031E);  // made on Unix
      directory += common;
      put16(directory, 0);
      put16(directory, 0);
      put16(directory, 0);
      put32(directory, entry.mode << 16);
      put32(directory, offset);
      directory += entry.name;
    }
    const auto directory_offset = static_cast<std::uint32_t>(out.size());
    out += directory + std::string("PK\x05\x06\0\0\0\0", 8);
    put16(out, static_cast<std::uint16_t>(entries_.size()));
    put16(out, static_cast<std::uint16_t>(entries_.size()));
    put32(out, static_cast<std::uint32_t>(directory.size()));
    put32(out, directory_offset);
    put16(out, 0);
    return out;
  }

 private:
  static void put16(std::string& out, std::uint16_t value) {
    out += static_cast<char>(value & 0xFF);
    out += static_cast<char>(value >> 8);
  }
  static void put32(std::string& out, std::uint32_t value) {
    put16(out, static_cast<std::uint16_t>(value & 0xFFFF));
    put16(out, static_cast<std::uint16_t>(value >> 16));
  }

  std::vector<ZipEntry> entries_;
};

}  // namespace thaw::control
