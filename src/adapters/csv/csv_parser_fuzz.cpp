// Any bytes, fed in two ways, give the same records; and what is written of them is read as them again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "adapters/csv/csv_parser.h"
#include "base/csv_text.h"

namespace {

using thaw::adapters::CsvParser;
using thaw::adapters::CsvRecord;

struct Parsed {
  std::vector<CsvRecord> records;
  bool ok = true;
};

Parsed parse(std::string_view bytes, std::size_t step) {
  Parsed parsed;
  CsvParser parser(',');
  CsvRecord record;
  while (parsed.ok && !bytes.empty()) {
    const std::string_view part = bytes.substr(0, step);
    bytes.remove_prefix(part.size());
    parsed.ok = parser.feed(part).ok();
    while (parser.take(record)) parsed.records.push_back(std::move(record));
  }
  parsed.ok = parsed.ok && parser.finish().ok();
  while (parser.take(record)) parsed.records.push_back(std::move(record));
  return parsed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Parsed whole = parse(bytes, bytes.size() + 1);
  const Parsed pieces = parse(bytes, 3);
  if (whole.ok != pieces.ok || whole.records != pieces.records) std::abort();
  std::string written;
  std::vector<CsvRecord> kept;
  for (const CsvRecord& record : whole.records) {
    // A record of one NULL is an empty line, which is passed over.
    if (record.size() == 1 && !record[0]) continue;
    kept.push_back(record);
    for (std::size_t i = 0; i < record.size(); ++i) {
      if (i > 0) written += ',';
      thaw::append_csv_field(written, record[i]);
    }
    written += "\r\n";
  }
  const Parsed again = parse(written, written.size() + 1);
  if (!again.ok || again.records != kept) std::abort();
  return 0;
}
