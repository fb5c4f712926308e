#include "snapshot/restore_layout.h"

#include <string_view>

#include "base/sys.h"
#include "snapshot/proc_files.h"

namespace thaw::snapshot {

Result<std::vector<SpecialPlace>> special_places() {
  ASSIGN_OR_RETURN(const std::string maps, sys::read_file("/proc/self/maps", kProcFileBytesMax));
  std::vector<SpecialPlace> places;
  for (std::size_t at = 0; at < maps.size();) {
    const std::size_t end = maps.find('\n', at);
    const std::string_view line = std::string_view(maps).substr(at, end - at);
    const std::size_t name = line.find('[');
    if (name != std::string_view::npos && (line.substr(name) == "[vdso]" || line.substr(name).starts_with("[vvar"))) {
      const std::uint64_t start = number(line, 16);
      places.push_back({std::string(line.substr(name)), start, number(line.substr(line.find('-') + 1), 16) - start});
    }
    at = end == std::string::npos ? maps.size() : end + 1;
  }
  return places;
}

prctl_mm_map layout_of(const Process& process, std::byte* auxiliary_vector, int executable) {
  prctl_mm_map map{};
  map.start_code = process.layout[0];
  map.end_code = process.layout[1];
  map.start_data = process.layout[2];
  map.end_data = process.layout[3];
  map.start_brk = process.layout[4];
  map.brk = process.brk;
  map.start_stack = process.layout[5];
  map.arg_start = process.layout[6];
  map.arg_end = process.layout[7];
  map.env_start = process.layout[8];
  map.env_end = process.layout[9];
  map.auxv = reinterpret_cast<decltype(map.auxv)>(auxiliary_vector);
  map.auxv_size = static_cast<std::uint32_t>(process.auxiliary_vector.size());
  map.exe_fd = static_cast<std::uint32_t>(executable);
  return map;
}

}  // namespace thaw::snapshot
