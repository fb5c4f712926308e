#include "control/sql_catalog.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mutex>

#include "base/log.h"
#include "base/sys.h"
#include "base/timestamp.h"
#include "base/uuid.h"
#include "control/entry_path.h"
#include "control/function_index.h"
#include "control/function_table.h"
#include "control/layer_catalog.h"
#include "control/package_manifest.h"
#include "control/package_store.h"
#include "control/setting_index.h"
#include "control/version_index.h"
#include "model/manifest.h"

namespace thaw::control {
namespace {

using NoLayers = std::vector<model::LayerUse>;

constexpr std::size_t kListMax = 10000;

// One daemon a data folder: the lock goes with the process that holds it.
Result<UniqueFd> lock_folder(const std::string& data_folder) {
  const std::string path = data_folder + "/lock";
  ASSIGN_OR_RETURN(UniqueFd fd, sys::open(path, O_RDWR | O_CREAT, 0600));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return sys::errno_error(path);
    char holder[32] = {};
    const ssize_t length = ::pread(fd.get(), holder, sizeof(holder) - 1, 0);
    const std::string who =
        length > 1 ? " (process " + std::string(holder, static_cast<std::size_t>(length - 1)) + ")" : "";
    return Error{ErrorKind::conflict, "another thaw daemon" + who + " uses the data folder " + data_folder +
                                          ": stop it, or name another folder with --data"};
  }
  if (::ftruncate(fd.get(), 0) != 0) return sys::errno_error(path);
  RETURN_IF_ERROR(sys::pwrite_all(fd, std::to_string(::getpid()) + "\n", 0));
  return fd;
}

Error no_function(std::string_view name) {
  return {ErrorKind::not_found, "there is no function \"" + shown_name(name) + "\""};
}

Error no_version(model::QualifiedName name) {
  return {ErrorKind::not_found, "function \"" + shown_name(name.function) + "\" has no version " +
                                    std::string(name.qualifier.substr(0, 100))};
}

Error no_alias(model::QualifiedName name) {
  return {ErrorKind::not_found,
          "function \"" + shown_name(name.function) + "\" has no alias \"" + shown_name(name.qualifier) + "\""};
}

// As Lambda says it.
Error other_revision() {
  return {ErrorKind::conflict,
          "The Revision Id provided does not match the latest Revision Id. Read it again to get the latest one",
          kPreconditionFailed};
}

// Ownership: the lock of the data folder, the database, the packages. Lock order: commit_mutex_ before all others.
class SqlCatalog final : public Catalog {
 public:
  explicit SqlCatalog(CatalogOptions options) : options_(std::move(options)) {}

  Status open(const std::string& data_folder) {
    RETURN_IF_ERROR(sys::make_directories(data_folder));
    ASSIGN_OR_RETURN(lock_, lock_folder(data_folder));
    ASSIGN_OR_RETURN(table_, FunctionTable::open_sqlite(data_folder + "/catalog.db"));
    RETURN_IF_ERROR(table_->load({
        .function = [this](model::FunctionRecord record) { index_.put(std::move(record)); },
        .version = [this](model::FunctionRecord record) { versions_.put(std::move(record)); },
        .alias = [this](const std::string& name, model::Alias alias) { versions_.put_alias(name, std::move(alias)); },
        .last_number = [this](const std::string& name,
                              std::uint64_t number) { versions_.set_last_number(name, number); },
        .setting = [this](const std::string& name, Setting setting) { settings_.put(name, std::move(setting)); },
    }));
    PackageStore::Options store{.intake = options_.intake,
                                .removal_delay = options_.removal_delay,
                                .is_referenced = [this](const std::string& sha) { return is_referenced(sha); },
                                .commit_lock = &commit_mutex_};
    ASSIGN_OR_RETURN(packages_, PackageStore::open(data_folder, std::move(store)));
    RETURN_IF_ERROR(layer_store_.open(data_folder + "/layers"));
    layers_.emplace(layer_store_, *packages_, commit_mutex_);
    return packages_->remove_unreferenced();
  }

  void use_models(ResolveModel resolve) override { resolve_model_ = std::move(resolve); }

  std::shared_ptr<const model::FunctionRecord> find(std::string_view name) const override { return index_.find(name); }

  Result<Page> list(const std::string& marker, std::size_t count_max) const override {
    if (count_max == 0 || count_max > kListMax) {
      return invalid_argument("a page must have 1 to " + std::to_string(kListMax) + " functions");
    }
    return index_.list(marker, count_max);
  }

  std::size_t count() const override { return index_.count(); }

  Result<model::FunctionRecord> deploy(const Deploy& request) override {
    ASSIGN_OR_RETURN(const PackageStore::Staged staged, packages_->unpack(request.package_path, {}));
    ASSIGN_OR_RETURN(model::FunctionRecord record, describe(request, staged));
    step("unpacked");
    RETURN_IF_ERROR(packages_->sync(staged));
    step("synced");
    RecordPointer before;
    {
      const std::lock_guard lock(commit_mutex_);
      RETURN_IF_ERROR(packages_->place(staged));
      step("placed");
      if (auto status = table_->put(record); !status) {
        collect(record);
        return not_written(status.error());
      }
      step("recorded");
      before = index_.put(record);
    }
    if (before != nullptr && before->code_sha256 != record.code_sha256) collect(*before);
    return record;
  }

  Result<model::FunctionRecord> change(const Change& change) override {
    RETURN_IF_ERROR(model::check_function_name(change.name));
    std::optional<PackageStore::Staged> staged;
    if (!change.package_path.empty()) {
      const PackageStore::Unpack how{.unpacked_bytes_max = change.unpacked_bytes_max,
                                     .keep_zip = !change.zip.sha256.empty() && !change.dry_run};
      auto unpacked = packages_->unpack(change.package_path, how);
      if (!unpacked.ok()) return package_fault(std::move(unpacked).error());
      staged.emplace(std::move(*unpacked));
      step("unpacked");
      if (!change.dry_run) RETURN_IF_ERROR(packages_->sync(*staged));
      step("synced");
    }
    ASSIGN_OR_RETURN(const LayerCatalog::Laid laid, layers_->lay(change.layers.value_or(NoLayers())));
    RecordPointer before;
    std::optional<model::FunctionRecord> record;
    {
      const std::lock_guard lock(commit_mutex_);
      before = index_.find(change.name);
      ASSIGN_OR_RETURN(record, changed(change, before.get(), staged ? &*staged : nullptr, laid.layers));
      if (change.dry_run) return std::move(*record);
      if (laid.staged) RETURN_IF_ERROR(packages_->place(*laid.staged));
      if (staged) RETURN_IF_ERROR(packages_->place(*staged));
      step("placed");
      if (auto status = table_->put(*record); !status) {
        collect(*record);
        return not_written(status.error());
      }
      step("recorded");
      index_.put(*record);
    }
    if (before != nullptr) collect(*before);
    return std::move(*record);
  }

  Status remove(std::string_view name) override {
    std::vector<RecordPointer> before;
    {
      const std::lock_guard lock(commit_mutex_);
      const RecordPointer latest = index_.find(name);
      if (latest == nullptr) return no_function(name);
      before = versions_.versions(name);
      before.push_back(latest);
      if (auto status = table_->erase(latest->config.name); !status) return not_written(status.error());
      step("erased");
      versions_.erase(name);
      settings_.erase(name);
      index_.erase(name);
    }
    for (const RecordPointer& record : before) collect(*record);
    return {};
  }

  RecordPointer find(model::QualifiedName name, double draw) const override { return versions_.find(name, draw); }

  Result<model::FunctionRecord> publish(const Publish& request) override {
    RETURN_IF_ERROR(model::check_description(request.description));
    const std::lock_guard lock(commit_mutex_);
    const RecordPointer latest = index_.find(request.name);
    if (latest == nullptr) return no_function(request.name);
    if (!request.code_sha256.empty() && request.code_sha256 != latest->code_sha256)
      return invalid_argument("CodeSha256 is not that of $LATEST: read it again");
    if (!request.revision_id.empty() && request.revision_id != latest->revision_id) return other_revision();
    const RecordPointer newest = versions_.newest(request.name);
    if (newest != nullptr && newest->config == latest->config && newest->code_sha256 == latest->code_sha256)
      return *newest;
    if (versions_.versions(request.name).size() >= model::kVersionsMax) {
      return Error{ErrorKind::conflict, "the function has " + std::to_string(model::kVersionsMax) +
                                            " versions, which is the most: delete some of them"};
    }
    model::FunctionRecord version = *latest;
    version.version = std::to_string(versions_.last_number(request.name) + 1);
    version.description = request.description;
    version.revision_id = random_uuid();
    version.last_modified = timestamp_now();
    if (auto status = table_->publish(version); !status) return not_written(status.error());
    step("published");
    versions_.put(version);
    return version;
  }

  std::vector<RecordPointer> versions(std::string_view name) const override { return versions_.versions(name); }

  Status remove_version(std::string_view name, std::uint64_t number) override {
    const std::string version = std::to_string(number);
    RecordPointer before;
    {
      const std::lock_guard lock(commit_mutex_);
      before = versions_.find({name, version}, 1);
      if (before == nullptr) return index_.find(name) == nullptr ? no_function(name) : no_version({name, version});
      if (const auto alias = versions_.alias_of({name, version})) {
        return Error{ErrorKind::conflict, "version " + version + " is named by the alias " + *alias +
                                              ": point that at another version, or delete it, first"};
      }
      if (auto status = table_->erase_version(before->config.name, number); !status) return not_written(status.error());
      settings_.erase_qualifier(name, version);
      versions_.erase_version(name, number);
    }
    collect(*before);
    return {};
  }

  std::vector<model::Alias> aliases(std::string_view name) const override { return versions_.aliases(name); }

  std::optional<model::Alias> find_alias(model::QualifiedName name) const override { return versions_.alias(name); }

  Result<model::Alias> create_alias(std::string_view name, model::Alias alias) override {
    const std::lock_guard lock(commit_mutex_);
    RETURN_IF_ERROR(check_alias_of(name, alias));
    if (versions_.alias({name, alias.name})) {
      return Error{ErrorKind::conflict, "Alias already exists: " + alias.name};
    }
    if (versions_.aliases(name).size() >= model::kAliasesMax) {
      return Error{ErrorKind::conflict, "the function has " + std::to_string(model::kAliasesMax) +
                                            " aliases, which is the most: delete some of them"};
    }
    return store_alias(name, std::move(alias));
  }

  Result<model::Alias> update_alias(std::string_view name, const AliasChange& change) override {
    const std::lock_guard lock(commit_mutex_);
    if (index_.find(name) == nullptr) return no_function(name);
    auto alias = versions_.alias({name, change.alias});
    if (!alias) return no_alias({name, change.alias});
    if (!change.revision_id.empty() && change.revision_id != alias->revision_id) return other_revision();
    if (change.function_version) alias->function_version = *change.function_version;
    if (change.description) alias->description = *change.description;
    if (change.additional) alias->additional = *change.additional;
    RETURN_IF_ERROR(check_alias_of(name, *alias));
    return store_alias(name, std::move(*alias));
  }

  Status remove_alias(model::QualifiedName name) override {
    const std::lock_guard lock(commit_mutex_);
    if (index_.find(name.function) == nullptr) return no_function(name.function);
    if (!versions_.alias(name)) return no_alias(name);
    if (auto status = table_->erase_alias(name); !status) return not_written(status.error());
    settings_.erase_qualifier(name.function, name.qualifier);
    versions_.erase_alias(name);
    return {};
  }

  std::shared_ptr<const std::string> setting(std::string_view function, SettingKind kind,
                                             std::string_view qualifier) const override {
    return settings_.find(function, kind, qualifier);
  }

  Status put_setting(std::string_view function, Setting setting) override {
    const std::lock_guard lock(commit_mutex_);
    return store_setting(function, std::move(setting));
  }

  Status edit_setting(std::string_view function, SettingKind kind, std::string_view qualifier,
                      const EditSetting& edit) override {
    const std::lock_guard lock(commit_mutex_);
    if (index_.find(function) == nullptr) return no_function(function);
    ASSIGN_OR_RETURN(std::string json, edit(settings_.find(function, kind, qualifier).get()));
    return store_setting(function, {.kind = kind, .qualifier = std::string(qualifier), .json = std::move(json)});
  }

  Status remove_setting(std::string_view function, SettingKind kind, std::string_view qualifier) override {
    const std::lock_guard lock(commit_mutex_);
    if (index_.find(function) == nullptr) return no_function(function);
    if (settings_.find(function, kind, qualifier) == nullptr) {
      return Error{ErrorKind::not_found, "function \"" + shown_name(function) + "\" has no " +
                                             std::string(setting_kind_name(kind)) + " setting there"};
    }
    if (auto status = table_->erase_setting(std::string(function), kind, std::string(qualifier)); !status)
      return not_written(status.error());
    settings_.erase(function, kind, qualifier);
    return {};
  }

  std::vector<Setting> settings(std::string_view function, SettingKind kind) const override {
    return settings_.list(function, kind);
  }

  std::vector<FunctionSetting> settings(SettingKind kind) const override { return settings_.list(kind); }

  std::uint64_t setting_changes(SettingKind kind) const override { return settings_.changes(kind); }

  std::string new_upload_path() override { return packages_->new_upload_path(); }

  Layers& layers() override { return *layers_; }

  Result<UniqueFd> open_zip(const std::string& code_sha256) override { return packages_->open_zip(code_sha256); }

  Result<PackageHold> hold_package(const std::string& code_sha256) override {
    auto held = packages_->hold(code_sha256);
    if (!held && held.error().kind == ErrorKind::not_found && is_referenced(code_sha256)) {
      log::error("package_missing sha256={}", code_sha256);
      return Error{ErrorKind::corrupt, "the function's package is missing from the data folder: deploy it again"};
    }
    return held;
  }

 private:
  void step(std::string_view name) const {
    if (options_.at_step) options_.at_step(name);
  }

  bool is_referenced(const std::string& sha) const {
    return index_.references(sha) || versions_.references(sha) || layer_store_.references(sha);
  }

  // What nobody names any more goes after a while.
  void collect(const model::FunctionRecord& record) {
    packages_->collect(record.code_sha256);
    if (!record.config.layers.sha256.empty()) packages_->collect(record.config.layers.sha256);
  }

  // Under commit_mutex_: the function and the versions must be there, and stay.
  Status check_alias_of(std::string_view name, const model::Alias& alias) const {
    if (index_.find(name) == nullptr) return no_function(name);
    RETURN_IF_ERROR(model::check_alias(alias));
    if (versions_.find({name, alias.function_version}, 1) == nullptr) return no_version({name, alias.function_version});
    if (alias.additional && versions_.find({name, alias.additional->version}, 1) == nullptr)
      return no_version({name, alias.additional->version});
    return {};
  }

  // Under commit_mutex_.
  Status store_setting(std::string_view function, Setting setting) {
    if (setting.json.size() > kSettingBytesMax) {
      return Error{ErrorKind::too_large, std::string(setting_kind_name(setting.kind)) + " takes at most " +
                                             std::to_string(kSettingBytesMax) + " bytes"};
    }
    if (index_.find(function) == nullptr) return no_function(function);
    if (settings_.find(function, setting.kind, setting.qualifier) == nullptr &&
        settings_.count(function) >= kSettingsMax) {
      return Error{ErrorKind::conflict, "the function has " + std::to_string(kSettingsMax) +
                                            " settings, which is the most: delete some of them"};
    }
    if (auto status = table_->put_setting(std::string(function), setting); !status) return not_written(status.error());
    settings_.put(function, std::move(setting));
    return {};
  }

  Result<model::Alias> store_alias(std::string_view name, model::Alias alias) {
    alias.revision_id = random_uuid();
    if (auto status = table_->put_alias(std::string(name), alias); !status) return not_written(status.error());
    versions_.put_alias(name, alias);
    return alias;
  }

  // Under commit_mutex_: what the function becomes; before and staged are nullptr where there is none.
  static Result<model::FunctionRecord> changed(const Change& change, const model::FunctionRecord* before,
                                               const PackageStore::Staged* staged,
                                               const model::FunctionLayers& layers) {
    const bool create = change.kind == Change::Kind::create;
    if (create && before != nullptr) return Error{ErrorKind::conflict, "Function already exist: " + change.name};
    if (!create && before == nullptr) return no_function(change.name);
    if (!change.revision_id.empty() && before != nullptr && before->revision_id != change.revision_id)
      return other_revision();
    model::FunctionRecord record;
    if (before != nullptr) record = *before;
    model::FunctionConfig& config = record.config;
    if (create) config.name = change.name;
    if (change.edit) RETURN_IF_ERROR(change.edit(config));
    if (change.layers) config.layers = layers;
    RETURN_IF_ERROR(model::validate(config));
    if (staged != nullptr) {
      if (!config.model.empty())
        return Error{ErrorKind::unsupported, "the code of a function with a model changes by a deploy alone"};
      RETURN_IF_ERROR(check_engine_package(config, *staged));
      config.zip = change.zip;
      record.code_sha256 = staged->content.sha256;
      record.code_bytes = staged->content.bytes;
    }
    if (change.unpacked_bytes_max > 0 && record.code_bytes + config.layers.code_bytes > change.unpacked_bytes_max) {
      return invalid_argument("Function code combined with layers exceeds the maximum allowed size of " +
                              std::to_string(change.unpacked_bytes_max) + " bytes. The actual size is " +
                              std::to_string(record.code_bytes + config.layers.code_bytes) + " bytes.");
    }
    record.revision_id = random_uuid();
    record.last_modified = timestamp_now();
    return record;
  }

  // The database's own message names files of the host: it is for the log.
  static Error not_written(const Error& error) {
    log::error("catalog_not_written error=\"{}\"", error.message);
    if (error.kind == ErrorKind::unavailable) return error;
    return {error.kind, "the catalog could not be written; the daemon's log says why"};
  }

  Result<model::FunctionRecord> describe(const Deploy& request, const PackageStore::Staged& staged) const {
    if (!request.name.empty()) RETURN_IF_ERROR(model::check_function_name(request.name));
    ASSIGN_OR_RETURN(const std::string manifest, manifest_text(staged));
    ASSIGN_OR_RETURN(model::FunctionConfig config, model::read_manifest({.manifest = manifest,
                                                                         .overrides = request.overrides,
                                                                         .package_bytes = staged.content.bytes}));
    if (!request.name.empty()) {
      if (!config.name.empty() && folded_name(config.name) != folded_name(request.name)) {
        return invalid_argument("the function is deployed as \"" + request.name +
                                "\", but its thaw.toml says name = \"" + config.name +
                                "\": make them the same, or leave one out");
      }
      config.name = request.name;
    }
    RETURN_IF_ERROR(model::check_function_name(config.name));
    if (!config.model.empty()) {
      if (!resolve_model_) return Error{ErrorKind::unsupported, "this daemon has no memory for models"};
      ASSIGN_OR_RETURN(config.resolved, resolve_model_({.config = config, .package = staged.folder}));
    }
    RETURN_IF_ERROR(check_engine_package(config, staged));
    return model::FunctionRecord{.config = std::move(config),
                                 .code_sha256 = staged.content.sha256,
                                 .code_bytes = staged.content.bytes,
                                 .revision_id = random_uuid(),
                                 .last_modified = timestamp_now()};
  }

  const CatalogOptions options_;
  ResolveModel resolve_model_;
  UniqueFd lock_;
  FunctionIndex index_;
  VersionIndex versions_{index_};
  SettingIndex settings_;
  std::mutex commit_mutex_;
  std::unique_ptr<FunctionTable> table_;  // used under commit_mutex_ once open
  LayerStore layer_store_;
  std::unique_ptr<PackageStore> packages_;  // its thread uses all of the above
  std::optional<LayerCatalog> layers_;
};

}  // namespace

Result<std::unique_ptr<Catalog>> open_catalog(const std::string& data_folder, CatalogOptions options) {
  auto catalog = std::make_unique<SqlCatalog>(std::move(options));
  RETURN_IF_ERROR(catalog->open(data_folder));
  return std::unique_ptr<Catalog>(std::move(catalog));
}

Result<std::unique_ptr<Catalog>> Catalog::open(const std::string& data_folder) { return open_catalog(data_folder, {}); }

}  // namespace thaw::control
