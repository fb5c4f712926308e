// The catalog: which functions exist, their published versions and aliases, and the packages they run. What it has
// acknowledged survives kill -9.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/layers.h"
#include "control/setting.h"
#include "model/function.h"
#include "model/version.h"

namespace thaw::control {

// The code of an error that says: read it again, it is another revision by now.
inline constexpr char kPreconditionFailed[] = "PreconditionFailed";

// Of an error that says: what was uploaded is no zip that can be taken in.
inline constexpr char kBadPackage[] = "BadPackage";

struct Page {
  std::vector<model::FunctionRecord> functions;  // by name
  std::string next_marker;                       // empty on the last page
};

// Ownership: holds the database (DATA/catalog.db) and the package folders (DATA/packages/SHA256/).
// Threads: every method from any thread; they do file I/O, so not from an event loop's thread but the const ones,
// which answer from memory.
class Catalog {
 public:
  // Opens or makes the catalog in data_folder; clears half-done uploads that a crash left.
  static Result<std::unique_ptr<Catalog>> open(const std::string& data_folder);
  virtual ~Catalog() = default;

  // Finds out what a function's model is, before the function is recorded; with it deploy() takes functions that name
  // one. Call it before the first deploy().
  struct ModelQuestion {
    const model::FunctionConfig& config;
    const UniqueFd& package;  // its folder
  };
  using ResolveModel = std::function<Result<model::ResolvedModel>(const ModelQuestion&)>;
  virtual void use_models(ResolveModel resolve) = 0;

  // nullptr when there is none. Names compare without regard to ASCII case. Memory only: cheap, never blocks on I/O.
  virtual std::shared_ptr<const model::FunctionRecord> find(std::string_view name) const = 0;
  virtual Result<Page> list(const std::string& marker, std::size_t count_max) const = 0;
  virtual std::size_t count() const = 0;

  struct Deploy {
    std::string name;          // from the caller; must equal the manifest's name when that gives one
    std::string package_path;  // a staged upload: a zip file inside new_upload_path()'s folder; consumed in any case
    // Overrides of the manifest, as TOML text of [function]-level keys; may be empty.
    std::string overrides;
  };
  // Intake of the zip, validation, then the record: all or nothing. A function of that name is replaced.
  // Errors: invalid_argument and too_large name the offending entry or field; nothing stays behind.
  virtual Result<model::FunctionRecord> deploy(const Deploy& request) = 0;
  // What Lambda's CreateFunction, UpdateFunctionCode and UpdateFunctionConfiguration do: the caller says what the
  // function is, and a manifest in the package is passed over.
  struct Change {
    std::string name;
    enum class Kind : std::uint8_t { create, update } kind = Kind::update;
    std::string package_path;  // as Deploy's; empty: the code stays
    // The package was a zip from outside: the file is kept with it, for open_zip().
    model::UploadedZip zip;
    // Of the package, and of it and its layers together; 0: the catalog's own limit.
    std::uint64_t unpacked_bytes_max = 0;
    std::optional<std::vector<model::LayerUse>> layers;  // what they are from now on, when given
    std::string revision_id;                             // that $LATEST must have, when given
    bool dry_run = false;                                // checks everything, changes nothing
    // Makes the new configuration out of the present one, or of a default one for a function that is made. Called
    // under the catalog's lock: memory only.
    std::function<Status(model::FunctionConfig&)> edit;
  };
  // What $LATEST is afterwards. Errors: as deploy(), with code kBadPackage where the zip is at fault; not_found or
  // conflict for a function that is not there, or is; conflict with code kPreconditionFailed for another revision.
  virtual Result<model::FunctionRecord> change(const Change& change) = 0;
  // With its versions and aliases.
  virtual Status remove(std::string_view name) = 0;

  // draw, in [0, 1), decides between the versions of a weighted alias; from 1 on it is the alias's own. nullptr when
  // there is none. Memory only.
  virtual std::shared_ptr<const model::FunctionRecord> find(model::QualifiedName name, double draw) const = 0;
  struct Publish {
    std::string name;
    std::string description;
    // What $LATEST must be, when given: the package's digest in hex, its revision.
    std::string code_sha256;
    std::string revision_id;
  };
  // Makes what $LATEST is now the next version; returns the newest version when that is the same already.
  // Errors: not_found; invalid_argument for a bad description or another digest; conflict with code
  // kPreconditionFailed for another revision.
  virtual Result<model::FunctionRecord> publish(const Publish& request) = 0;
  // By number, $LATEST not among them.
  virtual std::vector<std::shared_ptr<const model::FunctionRecord>> versions(std::string_view name) const = 0;
  // Errors: not_found; conflict when an alias names it.
  virtual Status remove_version(std::string_view name, std::uint64_t number) = 0;

  // By name.
  virtual std::vector<model::Alias> aliases(std::string_view name) const = 0;
  virtual std::optional<model::Alias> find_alias(model::QualifiedName name) const = 0;
  // The revision of the argument is passed over. Errors: not_found when the function or a version is not there;
  // conflict when the alias is there already; invalid_argument names the field.
  virtual Result<model::Alias> create_alias(std::string_view name, model::Alias alias) = 0;
  struct AliasChange {
    std::string alias;
    std::string revision_id;  // that the alias must have, when given
    // What is given replaces; of the last, no version inside takes the weight away.
    std::optional<std::string> function_version;
    std::optional<std::string> description;
    std::optional<std::optional<model::WeightedVersion>> additional;
  };
  // Errors: as create_alias; not_found when there is no such alias; conflict with code kPreconditionFailed.
  virtual Result<model::Alias> update_alias(std::string_view name, const AliasChange& change) = 0;
  virtual Status remove_alias(model::QualifiedName name) = 0;

  // Settings: documents about a function that are no part of its versions, and go with it; those of a qualifier go with
  // its version or alias. Kind and qualifier name one; what the qualifier may be, and what the JSON holds, is the
  // caller's to check. The first and the last answer from memory alone; nullptr when there is none.
  virtual std::shared_ptr<const std::string> setting(std::string_view function, SettingKind kind,
                                                     std::string_view qualifier) const = 0;
  // Inserts or replaces. Errors: not_found when there is no such function; too_large beyond kSettingBytesMax;
  // conflict beyond kSettingsMax documents of the function.
  virtual Status put_setting(std::string_view function, Setting setting) = 0;
  // What a document becomes: edit gets it as it is, nullptr where there is none, and gives the JSON to store. Nothing
  // else about the function changes meanwhile, so edit may check the catalog, from what answers from memory; an error
  // of its leaves all as it was. Errors: edit's, and put_setting()'s. The function's record is looked up first.
  using EditSetting = std::function<Result<std::string>(const std::string* before)>;
  virtual Status edit_setting(std::string_view function, SettingKind kind, std::string_view qualifier,
                              const EditSetting& edit) = 0;
  // Errors: not_found when the function, or the setting, is not there.
  virtual Status remove_setting(std::string_view function, SettingKind kind, std::string_view qualifier) = 0;
  // By qualifier.
  virtual std::vector<Setting> settings(std::string_view function, SettingKind kind) const = 0;
  struct FunctionSetting {
    std::string function;  // in lower case
    Setting setting;
  };
  // Of all functions, by name and qualifier. Memory only.
  virtual std::vector<FunctionSetting> settings(SettingKind kind) const = 0;
  // Grows with every change of a setting of the kind, its function's end included: what was read before a change has
  // another number.
  virtual std::uint64_t setting_changes(SettingKind kind) const = 0;

  // Versions of layers, which functions name.
  virtual Layers& layers() = 0;

  // A fresh path for an upload, inside the data folder.
  virtual std::string new_upload_path() = 0;
  // The zip of a package that change() took in: of those with the same content, the latest. Errors: not_found.
  virtual Result<UniqueFd> open_zip(const std::string& code_sha256) = 0;
  // The package's folder (O_PATH), kept from removal while the returned hold lives.
  struct PackageHold {
    UniqueFd folder;
    std::shared_ptr<const void> hold;
  };
  virtual Result<PackageHold> hold_package(const std::string& code_sha256) = 0;
};

}  // namespace thaw::control
