#include "events/scheduler.h"

#include <fcntl.h>
#include <time.h>

#include <algorithm>
#include <boost/json.hpp>
#include <future>

#include "base/log.h"
#include "base/sys.h"
#include "base/uuid.h"
#include "model/place.h"

namespace thaw::events {
namespace {

namespace json = boost::json;

constexpr std::int64_t kFormat = 1;
constexpr std::size_t kFileBytesMax = 64 << 20;
constexpr std::size_t kPage = 500;
// How late a deploy's schedules are noticed without look(), and a clock of day that was set.
constexpr std::chrono::seconds kLookEvery{5};
constexpr int kTriesMax = 3;
constexpr std::chrono::seconds kTryAgainAfter{1};

std::int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// 2026-01-31T12:00:00Z.
std::string time_text(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  char text[64];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

std::string arn_of(std::string_view service, std::string_view resource) {
  return "arn:aws:" + std::string(service) + ":" + model::place().region + ":" + model::place().account + ":" +
         std::string(resource);
}

Error damaged(const std::string& what) { return {ErrorKind::corrupt, "schedules.json is damaged: " + what}; }

Error no_schedule(std::string_view function, std::string_view name) {
  return {ErrorKind::not_found, "function " + std::string(function) + " has no schedule " + std::string(name)};
}

}  // namespace

std::string scheduled_event(std::string_view id, std::string_view schedule_name, std::int64_t time_s) {
  return json::serialize(
      json::object{{"version", "0"},
                   {"id", id},
                   {"detail-type", "Scheduled Event"},
                   {"source", "aws.events"},
                   {"account", model::place().account},
                   {"time", time_text(time_s)},
                   {"region", model::place().region},
                   {"resources", json::array{json::string(arn_of("events", "rule/" + std::string(schedule_name)))}},
                   {"detail", json::object()}});
}

Result<std::unique_ptr<Scheduler>> Scheduler::open(const std::string& path, control::Catalog& catalog,
                                                   EventIntake& intake) {
  std::unique_ptr<Scheduler> scheduler(new Scheduler(path, catalog, intake));
  RETURN_IF_ERROR(scheduler->load());
  return scheduler;
}

Status Scheduler::load() {
  const auto text = sys::read_file(path_, kFileBytesMax);
  if (!text.ok() && text.error().kind == ErrorKind::not_found) return {};
  if (!text.ok()) return text.error();
  json::error_code code;
  const json::value parsed = json::parse(*text, code);
  const json::object* file = code ? nullptr : parsed.if_object();
  if (file == nullptr) return damaged("it is no JSON object");
  const json::value* format = file->if_contains("v");
  const json::value* schedules = file->if_contains("schedules");
  if (format == nullptr || *format != json::value(kFormat)) return damaged("its format is another");
  if (schedules == nullptr || !schedules->is_array()) return damaged("schedules is no array");
  for (const json::value& item : schedules->get_array()) {
    const json::object* object = item.if_object();
    if (object == nullptr) return damaged("an entry is no object");
    const auto number = [&](std::string_view key) -> std::int64_t {
      const json::value* value = object->if_contains(key);
      return value != nullptr && value->is_int64() ? value->get_int64() : -1;
    };
    const json::value* function = object->if_contains("function");
    const json::value* added = object->if_contains("added");
    if (function == nullptr || !function->is_string() || added == nullptr || !added->is_bool() || number("began") < 0 ||
        number("fired") < 0)
      return damaged("a member is missing");
    Entry entry;
    entry.function = std::string(function->get_string());
    auto spec = model::schedule_from_json(*object);
    if (!spec.ok()) return damaged(spec.error().message);
    ASSIGN_OR_RETURN(entry.schedule, model::Schedule::parse(spec->expression));
    entry.spec = std::move(*spec);
    entry.added = added->get_bool();
    entry.began_s = number("began");
    entry.fired_s = number("fired");
    find_next(entry);
    const Key key{lane_of_function(entry.function), entry.spec.name};
    entries_[key] = std::move(entry);
  }
  return {};
}

Status Scheduler::save() const {
  json::array schedules;
  for (const auto& [key, entry] : entries_) {
    json::object object = model::to_json(entry.spec);
    object["function"] = entry.function;
    object["added"] = entry.added;
    object["began"] = entry.began_s;
    object["fired"] = entry.fired_s;
    schedules.push_back(std::move(object));
  }
  const json::object file{{"v", kFormat}, {"schedules", std::move(schedules)}};
  return sys::write_file_atomically(path_, json::serialize(file) + "\n", 0600);
}

void Scheduler::start() {
  worker_ = std::thread([this] { work(); });
}

void Scheduler::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (worker_.joinable()) worker_.join();
}

void Scheduler::look() {
  const std::lock_guard lock(mutex_);
  look_ = true;
  changed_.notify_all();
}

void Scheduler::find_next(Entry& entry) {
  entry.next_s = entry.schedule.next(std::max(entry.began_s, entry.fired_s), entry.began_s);
}

std::vector<ScheduleView> Scheduler::list(std::string_view function) {
  const std::string folded = lane_of_function(function);
  const std::lock_guard lock(mutex_);
  sync(now_s());
  std::vector<ScheduleView> found;
  for (const auto& [key, entry] : entries_) {
    if (!function.empty() && key.first != folded) continue;
    found.push_back({.function = entry.function,
                     .spec = entry.spec,
                     .added = entry.added,
                     .fired_s = entry.fired_s,
                     .next_s = entry.spec.enabled ? entry.next_s.value_or(0) : 0});
  }
  return found;
}

Status Scheduler::put(std::string_view function, model::ScheduleSpec spec) {
  RETURN_IF_ERROR(model::check(spec));
  ASSIGN_OR_RETURN(const model::Schedule schedule, model::Schedule::parse(spec.expression));
  const auto record = catalog_.find(function);
  if (record == nullptr) return Error{ErrorKind::not_found, "there is no function " + std::string(function)};
  if (record->config.kind != model::FunctionKind::event)
    return invalid_argument("function " + record->config.name + " is a web function: it takes no events");
  if (catalog_.find({function, spec.qualifier}, 1) == nullptr) {
    return Error{ErrorKind::not_found,
                 "function " + record->config.name + " has no version or alias " + spec.qualifier};
  }
  const Key key{lane_of_function(function), spec.name};
  const std::lock_guard lock(mutex_);
  sync(now_s());
  const auto found = entries_.find(key);
  const auto before = found == entries_.end() ? std::nullopt : std::optional<Entry>(found->second);
  if (before && !before->added)
    return Error{ErrorKind::conflict,
                 "the schedule " + spec.name + " is one of the function's thaw.toml: change it there"};
  if (!before && entries_.size() >= kAddedSchedulesMax) {
    return Error{ErrorKind::conflict, "there are " + std::to_string(kAddedSchedulesMax) +
                                          " schedules, which is the most: delete some of them"};
  }
  Entry entry{.function = record->config.name, .added = true, .began_s = now_s(), .schedule = schedule};
  if (before && before->spec.expression == spec.expression) {
    entry.began_s = before->began_s;
    // What passed while it was not enabled is not made up for.
    entry.fired_s = before->spec.enabled ? before->fired_s : now_s();
  }
  entry.spec = std::move(spec);
  find_next(entry);
  entries_[key] = std::move(entry);
  if (Status saved = save(); !saved.ok()) {
    if (before) {
      entries_[key] = *before;
    } else {
      entries_.erase(key);
    }
    return saved;
  }
  changed_.notify_all();
  return {};
}

Status Scheduler::remove(std::string_view function, std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(Key{lane_of_function(function), std::string(name)});
  if (found == entries_.end()) return no_schedule(function, name);
  if (!found->second.added) {
    return Error{ErrorKind::conflict,
                 "the schedule " + std::string(name) + " is one of the function's thaw.toml: take it out there"};
  }
  auto taken = entries_.extract(found);
  if (Status saved = save(); !saved.ok()) {
    entries_.insert(std::move(taken));
    return saved;
  }
  return {};
}

void Scheduler::sync(std::int64_t now) {
  std::map<Key, bool> known;  // of the functions' manifests
  std::map<std::string, bool> functions;
  for (std::string marker;;) {
    const auto page = catalog_.list(marker, kPage);
    if (!page.ok()) return;
    for (const model::FunctionRecord& record : page->functions) {
      const std::string folded = lane_of_function(record.config.name);
      functions[folded] = true;
      for (const model::ScheduleSpec& spec : record.config.schedules) {
        const Key key{folded, spec.name};
        known[key] = true;
        const auto found = entries_.find(key);
        if (found != entries_.end() && !found->second.added && found->second.spec == spec) continue;
        auto schedule = model::Schedule::parse(spec.expression);
        if (!schedule.ok()) continue;  // none that was deployed
        Entry entry{.function = record.config.name, .spec = spec, .began_s = now, .schedule = *schedule};
        if (found != entries_.end() && found->second.spec.expression == spec.expression) {
          entry.began_s = found->second.began_s;
          entry.fired_s = found->second.spec.enabled ? found->second.fired_s : now;
        }
        find_next(entry);
        entries_[key] = std::move(entry);
        dirty_ = true;
      }
    }
    if (page->next_marker.empty()) break;
    marker = page->next_marker;
  }
  const std::size_t gone = std::erase_if(entries_, [&](const auto& item) {
    const auto& [key, entry] = item;
    return entry.added ? !functions.contains(key.first) : !known.contains(key);
  });
  dirty_ |= gone > 0;
}

std::vector<Scheduler::Fire> Scheduler::due(std::int64_t now) {
  std::vector<Fire> fires;
  for (auto& [key, entry] : entries_) {
    if (!entry.spec.enabled || !entry.next_s || *entry.next_s > now) continue;
    const auto time = entry.schedule.last(std::max(entry.began_s, entry.fired_s), now, entry.began_s);
    if (!time) continue;
    entry.fired_s = *time;
    find_next(entry);
    fires.push_back({entry, *time});
  }
  return fires;
}

void Scheduler::work() {
  auto looked_at = std::chrono::steady_clock::time_point();
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const std::int64_t now = now_s();
    if (look_ || std::chrono::steady_clock::now() >= looked_at + kLookEvery) {
      look_ = false;
      looked_at = std::chrono::steady_clock::now();
      sync(now);
    }
    const auto before = entries_;
    const std::vector<Fire> fires = due(now);
    if (dirty_ || !fires.empty()) {
      // What is not known to have fired must not: it would fire once more after a restart.
      if (const Status saved = save(); !saved.ok()) {
        log::error("schedules_not_saved fires={} error=\"{}\"", fires.size(), saved.error().message);
        entries_ = before;
        changed_.wait_for(lock, kLookEvery, [this] { return stopping_; });
        continue;
      }
      dirty_ = false;
    }
    if (!fires.empty()) {
      lock.unlock();
      for (const Fire& one : fires) fire(one);
      lock.lock();
    }
    std::int64_t next = now + kLookEvery.count();
    for (const auto& [key, entry] : entries_) {
      if (entry.spec.enabled && entry.next_s) next = std::min(next, *entry.next_s);
    }
    const auto until = std::chrono::system_clock::time_point(std::chrono::seconds(next));
    if (stopping_ || look_) continue;
    changed_.wait_until(lock, until);
  }
}

void Scheduler::fire(const Fire& fire) {
  const Entry& entry = fire.entry;
  const auto record = catalog_.find({entry.function, entry.spec.qualifier}, 1);
  if (record == nullptr) {
    log::warn("schedule_without_function function={} schedule={} qualifier={}", entry.function, entry.spec.name,
              entry.spec.qualifier);
    return;
  }
  const std::string id = random_uuid();
  QueuedEvent event;
  event.function = record->config.name;
  event.qualifier = entry.spec.qualifier;
  event.function_arn =
      arn_of("lambda", "function:" + event.function + (event.qualifier.empty() ? "" : ":" + event.qualifier));
  event.payload = entry.spec.input.empty() ? scheduled_event(id, entry.spec.name, fire.time_s) : entry.spec.input;
  Status put;
  for (int tries = 0; tries < kTriesMax; ++tries) {
    const auto answered = std::make_shared<std::promise<Status>>();
    intake_.submit(new_event(id, event), [answered](const Status& status) { answered->set_value(status); });
    put = answered->get_future().get();
    if (put.ok()) {
      log::info("schedule_fired function={} schedule={} time={} request_id={}", event.function, entry.spec.name,
                time_text(fire.time_s), id);
      return;
    }
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, kTryAgainAfter, [this] { return stopping_; })) break;
  }
  log::error("schedule_lost function={} schedule={} time={} error=\"{}\"", event.function, entry.spec.name,
             time_text(fire.time_s), put.error().message);
}

}  // namespace thaw::events
