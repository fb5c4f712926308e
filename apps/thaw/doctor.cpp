#include "doctor.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <cstdio>

#include "api.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

const char* name_of(Finding finding) {
  switch (finding) {
    case Finding::ok:
      return "ok";
    case Finding::warning:
      return "warning";
    case Finding::missing:
      return "missing";
  }
  return "";
}

Color color_of(Finding finding) {
  if (finding == Finding::ok) return Color::green;
  return finding == Finding::warning ? Color::yellow : Color::red;
}

void print_checks(const Session& session, const std::vector<Check>& checks) {
  std::size_t width = 0;
  for (const Check& check : checks) width = std::max(width, check.name.size());
  std::string out;
  for (const Check& check : checks) {
    std::string mark = name_of(check.finding);
    mark.append(9 - mark.size(), ' ');
    std::string name = check.name;
    name.append(width - name.size() + 2, ' ');
    out += session.terminal.out(color_of(check.finding), mark) + name + printable(check.detail) + "\n";
    if (!check.advice.empty()) out += std::string(width + 11, ' ') + "-> " + printable(check.advice) + "\n";
  }
  std::fwrite(out.data(), 1, out.size(), stdout);
}

void print_summary(const Session& session, std::size_t missing, std::size_t warnings) {
  const std::string text =
      missing > 0 ? std::to_string(missing) + (missing == 1 ? " thing is" : " things are") +
                        " missing; thaw cannot serve here yet"
      : warnings > 0 ? "thaw can serve here; " + std::to_string(warnings) + (warnings == 1 ? " warning" : " warnings")
                     : "thaw can serve here";
  const Color color = missing > 0 ? Color::red : warnings > 0 ? Color::yellow : Color::green;
  std::printf("\n%s\n", session.terminal.out(color, text).c_str());
}

}  // namespace

int run_doctor(Session& session, const ConfigSources& sources) {
  std::vector<Check> checks = machine_checks();
  const Result<ServeConfig> config = load_config(sources);
  for (Check& check : setup_checks(session, config)) checks.push_back(std::move(check));
  const auto count = [&](Finding finding) {
    return static_cast<std::size_t>(
        std::count_if(checks.begin(), checks.end(), [&](const Check& check) { return check.finding == finding; }));
  };
  const std::size_t missing = count(Finding::missing);
  if (session.json()) {
    json::array rows;
    for (const Check& check : checks) {
      rows.push_back({{"name", check.name},
                      {"finding", name_of(check.finding)},
                      {"detail", check.detail},
                      {"advice", check.advice}});
    }
    print_json({{"ok", missing == 0}, {"checks", rows}});
  } else {
    print_checks(session, checks);
    print_summary(session, missing, count(Finding::warning));
  }
  return missing == 0 ? kExitOk : kExitError;
}

}  // namespace thaw::cli
