#include "package.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <set>

#include "base/sys.h"
#include "model/manifest.h"
#include "text.h"

namespace thaw::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSkippedFolders[] = {".git", "__pycache__"};

// What model servers read beside the weights, as Hugging Face's exporters name it.
constexpr std::string_view kModelFiles[] = {
    "config.json", "tokenizer.json",    "tokenizer_config.json",  "special_tokens_map.json",  "vocab.txt", "vocab.json",
    "merges.txt",  "added_tokens.json", "generation_config.json", "preprocessor_config.json", "README.md", "LICENSE"};

bool is_regular(const fs::path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

Result<PackageEntry> file_entry(const fs::path& path, std::string name) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return sys::errno_error(path.string());
  if (::access(path.c_str(), R_OK) != 0) return sys::errno_error("cannot read " + path.string());
  PackageEntry entry;
  entry.name = std::move(name);
  entry.source = path.string();
  entry.bytes = static_cast<std::uint64_t>(info.st_size);
  entry.mode = (info.st_mode & 0111) != 0 ? 0755 : 0644;
  entry.modified_s = info.st_mtime;
  return entry;
}

// Follows the target's components from the link's folder; false when they leave the package on the way.
bool stays_inside(const fs::path& link_name, const fs::path& target) {
  if (target.is_absolute()) return false;
  std::size_t depth = 0;
  const auto step = [&](const fs::path& part) {
    if (part == "..") return depth-- > 0;
    if (!part.empty() && part != ".") ++depth;
    return true;
  };
  for (const fs::path& part : link_name.parent_path()) step(part);
  return std::all_of(target.begin(), target.end(), step);
}

// One walk over a folder. The plan lists folders before what is in them, in the order of the names.
class FolderWalk {
 public:
  FolderWalk(fs::path root, PackagePlan& plan) : root_(std::move(root)), plan_(plan) {
    std::error_code ignored;
    real_root_ = fs::canonical(root_, ignored);
  }

  Status run() { return folder(root_, ""); }

 private:
  Status folder(const fs::path& path, const fs::path& name) {
    std::error_code error;
    std::vector<fs::path> children;
    for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
      children.push_back(at->path().filename());
    }
    if (error) return invalid_argument("cannot read the folder " + path.string() + ": " + error.message());
    std::sort(children.begin(), children.end());
    for (const fs::path& child : children) RETURN_IF_ERROR(entry(path / child, name / child));
    return {};
  }

  Status entry(const fs::path& path, const fs::path& name) {
    if (plan_.entries.size() >= kPackageEntriesMax) {
      return Error{ErrorKind::too_large,
                   "the folder holds more than " + std::to_string(kPackageEntriesMax) + " files; is it the right one?"};
    }
    if (!is_valid_utf8(name.string())) {
      return invalid_argument(printable(path.string()) + ": its name is not UTF-8; rename it");
    }
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return sys::errno_error(path.string());
    if (S_ISDIR(info.st_mode)) {
      const std::string leaf = name.filename().string();
      if (std::find(std::begin(kSkippedFolders), std::end(kSkippedFolders), leaf) != std::end(kSkippedFolders)) {
        skipped_.insert(leaf);
        return {};
      }
      plan_.entries.push_back({PackageEntry::Kind::folder, name.string() + "/", "", 0, 0755, info.st_mtime});
      return folder(path, name);
    }
    if (S_ISLNK(info.st_mode)) return link(path, name, info.st_mtime);
    if (!S_ISREG(info.st_mode)) {
      return invalid_argument(path.string() + ": neither a file, a folder nor a link; a package cannot hold it");
    }
    ASSIGN_OR_RETURN(PackageEntry file, file_entry(path, name.string()));
    plan_.bytes += file.bytes;
    plan_.entries.push_back(std::move(file));
    return {};
  }

  Status link(const fs::path& path, const fs::path& name, std::int64_t modified_s) {
    std::error_code error;
    const fs::path target = fs::read_symlink(path, error);
    if (error) return invalid_argument(path.string() + ": " + error.message());
    bool inside = stays_inside(name, target);
    // A link that goes through other links must also arrive inside.
    const fs::path arrived = fs::weakly_canonical(path.parent_path() / target, error);
    if (inside && !error) {
      const fs::path relative = arrived.lexically_relative(real_root_);
      inside = !relative.empty() && *relative.begin() != "..";
    }
    if (!inside) {
      return invalid_argument(path.string() + ": this link leaves the folder (to " + target.string() +
                              "); copy the file in its place");
    }
    plan_.entries.push_back({PackageEntry::Kind::link, name.string(), target.string(), 0, 0777, modified_s});
    return {};
  }

 public:
  void add_notes() const {
    for (const std::string& leaf : skipped_) plan_.notes.push_back("left out: " + leaf + " folders");
  }

 private:
  fs::path root_;
  fs::path real_root_;
  PackagePlan& plan_;
  std::set<std::string> skipped_;
};

Status plan_folder(const fs::path& folder, PackagePlan& plan) {
  const Result<std::string> manifest = sys::read_file((folder / "thaw.toml").string(), model::kManifestBytesMax);
  if (!manifest.ok()) return invalid_argument("thaw.toml: " + manifest.error().message);
  plan.manifest = *manifest;
  plan.suggested_name = name_from(fs::canonical(folder).filename().string());
  FolderWalk walk(folder, plan);
  RETURN_IF_ERROR(walk.run());
  walk.add_notes();
  return {};
}

// A model without a manifest. Links are followed: Hugging Face's cache folders consist of them.
Status plan_model(const fs::path& weights_path, const fs::path& folder, PackagePlan& plan) {
  std::string name = name_from(fs::canonical(folder).filename().string());
  if (name.empty()) name = "model";
  plan.suggested_name = name;
  plan.manifest = model::kBareModelManifest;
  ASSIGN_OR_RETURN(PackageEntry weights, file_entry(weights_path, "model.onnx"));
  plan.bytes = weights.bytes;
  plan.entries.push_back(std::move(weights));
  const auto add = [&](const fs::path& path) -> Status {
    ASSIGN_OR_RETURN(PackageEntry file, file_entry(path, path.filename().string()));
    plan.bytes += file.bytes;
    plan.entries.push_back(std::move(file));
    return {};
  };
  for (const std::string_view file : kModelFiles) {
    if (is_regular(folder / file)) RETURN_IF_ERROR(add(folder / file));
  }
  // Weights above 2 GB live beside the graph, which names them (ONNX, "External Data").
  for (const std::string& suffix : {std::string("_data"), std::string(".data")}) {
    const fs::path external = weights_path.string() + suffix;
    if (is_regular(external)) RETURN_IF_ERROR(add(external));
  }
  if (!is_regular(folder / "config.json")) {
    return invalid_argument("there is no config.json beside " + weights_path.string() +
                            ": deploy the whole folder that the exporter wrote");
  }
  const auto is_there = [&](const char* file) { return is_regular(folder / file); };
  constexpr std::array kOfText = {"tokenizer.json", "vocab.txt", "vocab.json"};
  constexpr const char* kOfPictures = "preprocessor_config.json";
  const bool has_text = std::any_of(kOfText.begin(), kOfText.end(), is_there);
  if (!has_text && is_there(kOfPictures)) plan.manifest = model::kBareClassifierManifest;
  if (!has_text && !is_there(kOfPictures)) {
    return invalid_argument("there is no tokenizer.json, vocab.txt or preprocessor_config.json beside " +
                            weights_path.string() + ": deploy the whole folder that the exporter wrote");
  }
  return {};
}

// A file that llama-server reads. What is wrong with its inside, the daemon says.
Status plan_gguf(const fs::path& path, PackagePlan& plan) {
  ASSIGN_OR_RETURN(PackageEntry file, file_entry(path, path.filename().string()));
  if (!is_valid_utf8(file.name))
    return invalid_argument(printable(path.string()) + ": its name is not UTF-8; rename it");
  plan.suggested_name = name_from(path.stem().string());
  plan.manifest = model::bare_gguf_manifest(file.name);
  plan.bytes = file.bytes;
  plan.entries.push_back(std::move(file));
  return {};
}

// The GGUF file of a folder that has exactly one.
fs::path only_gguf(const fs::path& folder) {
  fs::path found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() != ".gguf" || !is_regular(at->path())) continue;
    if (!found.empty()) return {};
    found = at->path();
  }
  return found;
}

// A model that the daemon fetches: the package is the manifest that says so.
Status plan_address(const std::string& address, PackagePlan& plan) {
  std::string_view name = address;
  name = name.substr(0, name.find_first_of("?#"));
  const bool is_folder = name.ends_with('/');
  while (name.ends_with('/')) name.remove_suffix(1);
  name.remove_prefix(name.find_last_of("/:") + 1);
  plan.suggested_name = name_from(fs::path(name).stem().string());
  if (address.find(".gguf") != std::string::npos && !is_folder) {
    plan.manifest = model::bare_gguf_manifest(address);
  } else if (is_folder) {
    plan.manifest = std::string(model::kBareModelManifest) + "model = " + toml_quote(address) + "\n";
  } else {
    return invalid_argument(printable(address) +
                            ": is it a model? An address must name a .gguf file, or end with / and "
                            "name a folder with model.onnx, config.json and the tokenizer");
  }
  PackageEntry manifest;
  manifest.name = std::string(model::kManifestFile);
  manifest.text = plan.manifest;
  manifest.bytes = plan.manifest.size();
  plan.bytes = manifest.bytes;
  plan.entries.push_back(std::move(manifest));
  return {};
}

struct ArchiveReadDeleter {
  void operator()(archive* handle) const { archive_read_free(handle); }
};
struct ArchiveWriteDeleter {
  void operator()(archive* handle) const {
    // An archive that is dropped half-written must not be completed: its sink may be gone.
    archive_write_fail(handle);
    archive_write_free(handle);
  }
};
struct EntryDeleter {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

std::string archive_message(archive* handle) {
  const char* text = archive_error_string(handle);
  return text != nullptr ? printable(text) : "unknown error";
}

// The daemon judges the zip; here only what is certain to be refused, so that nobody waits for an upload in vain.
Status plan_zip(const fs::path& path, PackagePlan& plan) {
  ASSIGN_OR_RETURN(PackageEntry file, file_entry(path, path.filename().string()));
  plan.zip_path = path.string();
  plan.bytes = file.bytes;
  plan.suggested_name = name_from(path.stem().string());
  const std::unique_ptr<archive, ArchiveReadDeleter> reader(archive_read_new());
  archive_read_support_format_zip_seekable(reader.get());
  if (archive_read_open_filename(reader.get(), path.c_str(), 65536) != ARCHIVE_OK) {
    return invalid_argument(path.string() + " is not a zip file: " + archive_message(reader.get()));
  }
  bool has_entries = false;
  bool is_function = false;
  for (std::size_t count = 0; count < kPackageEntriesMax; ++count) {
    archive_entry* entry = nullptr;
    const int code = archive_read_next_header(reader.get(), &entry);
    if (code == ARCHIVE_EOF) break;
    if (code < ARCHIVE_WARN) {
      return invalid_argument(path.string() + " is not a zip file, or is damaged: " + archive_message(reader.get()));
    }
    has_entries = true;
    const char* raw_name = archive_entry_pathname(entry);
    const std::string_view name = raw_name != nullptr ? raw_name : "";
    const std::string_view leaf = name.substr(name.rfind('/') + 1);
    is_function = is_function || leaf == "thaw.toml" || leaf == "model.onnx" || leaf.ends_with(".gguf");
    if (name == "model.onnx") plan.manifest = model::kBareModelManifest;
    if (name.ends_with(".gguf") && plan.manifest.empty()) plan.manifest = model::bare_gguf_manifest(name);
    if (name != "thaw.toml") continue;
    plan.manifest.clear();
    if (archive_entry_size(entry) > static_cast<la_int64_t>(model::kManifestBytesMax)) {
      return invalid_argument(path.string() + ": thaw.toml is larger than " + std::to_string(model::kManifestBytesMax) +
                              " bytes");
    }
    std::array<char, 16384> chunk;
    for (;;) {
      const la_ssize_t got = archive_read_data(reader.get(), chunk.data(), chunk.size());
      if (got < 0)
        return invalid_argument(path.string() + ": thaw.toml cannot be read: " + archive_message(reader.get()));
      if (got == 0) break;
      plan.manifest.append(chunk.data(), static_cast<std::size_t>(got));
      if (plan.manifest.size() > model::kManifestBytesMax) {
        return invalid_argument(path.string() + ": thaw.toml is larger than it says");
      }
    }
    break;
  }
  if (!has_entries) return invalid_argument(path.string() + " is an empty zip, or no zip");
  if (!is_function)
    return invalid_argument(path.string() + " holds neither thaw.toml nor a model (model.onnx, or a .gguf)");
  return {};
}

}  // namespace

std::string name_from(std::string_view text) {
  std::string name;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (plain) {
      name += c;
    } else if (!name.empty() && !name.ends_with('-')) {
      name += '-';
    }
  }
  // So that it answers at NAME.localhost, too.
  name.resize(std::min(name.size(), model::kHostLabelBytesMax));
  while (name.ends_with('-')) name.pop_back();
  return name;
}

Result<PackagePlan> plan_package(const std::string& path) {
  PackagePlan plan;
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    const int error = errno;
    if (!model::is_model_address(path)) return invalid_argument(path + ": " + std::strerror(error));
    RETURN_IF_ERROR(plan_address(path, plan));
    return plan;
  }
  const fs::path given(path);
  if (S_ISDIR(info.st_mode)) {
    if (is_regular(given / "thaw.toml")) {
      RETURN_IF_ERROR(plan_folder(given, plan));
    } else if (is_regular(given / "model.onnx")) {
      RETURN_IF_ERROR(plan_model(given / "model.onnx", given, plan));
    } else if (is_regular(given / "onnx/model.onnx")) {
      RETURN_IF_ERROR(plan_model(given / "onnx/model.onnx", given, plan));
    } else if (const fs::path gguf = only_gguf(given); !gguf.empty()) {
      RETURN_IF_ERROR(plan_gguf(gguf, plan));
    } else {
      return invalid_argument(path +
                              " holds neither thaw.toml nor model.onnx: a function needs a thaw.toml that "
                              "names its command, like\n\n  name = \"hello\"\n  command = [\"python3\", \"app.py\"]\n");
    }
    return plan;
  }
  if (!S_ISREG(info.st_mode)) return invalid_argument(path + " is neither a folder nor a file");
  if (given.extension() == ".onnx") {
    const fs::path folder = given.has_parent_path() ? given.parent_path() : fs::path(".");
    RETURN_IF_ERROR(plan_model(given, folder, plan));
    return plan;
  }
  if (given.extension() == ".gguf") {
    RETURN_IF_ERROR(plan_gguf(given, plan));
    return plan;
  }
  RETURN_IF_ERROR(plan_zip(given, plan));
  return plan;
}

struct PackageReader::State {
  const PackagePlan& plan;
  std::unique_ptr<archive, ArchiveWriteDeleter> writer;
  std::size_t next = 0;
  const PackageEntry* current = nullptr;
  UniqueFd file;
  std::uint64_t left = 0;  // of the current file
  std::uint64_t bytes_read = 0;
  std::string ready;  // zip bytes that wait for the caller
  std::size_t ready_at = 0;
  bool finished = false;

  static la_ssize_t on_write(archive*, void* user, const void* bytes, std::size_t count) {
    static_cast<State*>(user)->ready.append(static_cast<const char*>(bytes), count);
    return static_cast<la_ssize_t>(count);
  }

  Status open_writer();
  Status begin(const PackageEntry& entry);
  Status copy_some();
  Status step();
};

Status PackageReader::State::open_writer() {
  writer.reset(archive_write_new());
  archive_write_set_format_zip(writer.get());
  archive_write_zip_set_compression_store(writer.get());
  archive_write_set_options(writer.get(), "hdrcharset=UTF-8");
  archive_write_set_bytes_per_block(writer.get(), 0);
  if (archive_write_open(writer.get(), this, nullptr, &State::on_write, nullptr) != ARCHIVE_OK) {
    return internal_error("zip: " + archive_message(writer.get()));
  }
  return {};
}

Status PackageReader::State::begin(const PackageEntry& entry) {
  const std::unique_ptr<archive_entry, EntryDeleter> header(archive_entry_new());
  archive_entry_set_pathname_utf8(header.get(), entry.name.c_str());
  archive_entry_set_perm(header.get(), entry.mode);
  archive_entry_set_mtime(header.get(), entry.modified_s, 0);
  switch (entry.kind) {
    case PackageEntry::Kind::folder:
      archive_entry_set_filetype(header.get(), AE_IFDIR);
      break;
    case PackageEntry::Kind::link:
      archive_entry_set_filetype(header.get(), AE_IFLNK);
      archive_entry_set_symlink_utf8(header.get(), entry.source.c_str());
      archive_entry_set_size(header.get(), 0);
      break;
    case PackageEntry::Kind::file:
      archive_entry_set_filetype(header.get(), AE_IFREG);
      archive_entry_set_size(header.get(), static_cast<la_int64_t>(entry.bytes));
      break;
  }
  if (entry.kind == PackageEntry::Kind::file && !entry.source.empty()) {
    ASSIGN_OR_RETURN(file, sys::open(entry.source, O_RDONLY));
    struct stat info {};
    if (::fstat(file.get(), &info) != 0) return sys::errno_error(entry.source);
    if (!S_ISREG(info.st_mode) || static_cast<std::uint64_t>(info.st_size) != entry.bytes) {
      return Error{ErrorKind::conflict, entry.source + " changed while it was packed; deploy again"};
    }
  }
  if (archive_write_header(writer.get(), header.get()) < ARCHIVE_WARN) {
    return internal_error(entry.name + ": " + archive_message(writer.get()));
  }
  if (entry.kind == PackageEntry::Kind::file && entry.source.empty()) {
    if (archive_write_data(writer.get(), entry.text.data(), entry.text.size()) < 0)
      return internal_error(entry.name + ": " + archive_message(writer.get()));
    bytes_read += entry.text.size();
  } else if (entry.kind == PackageEntry::Kind::file && entry.bytes > 0) {
    current = &entry;
    left = entry.bytes;
  }
  return {};
}

Status PackageReader::State::copy_some() {
  std::array<char, 65536> chunk;
  const std::size_t want = static_cast<std::size_t>(std::min<std::uint64_t>(chunk.size(), left));
  ASSIGN_OR_RETURN(const std::size_t got, sys::read_some(file, std::span<char>(chunk.data(), want)));
  if (got == 0) {
    return Error{ErrorKind::conflict, current->source + " became shorter while it was packed; deploy again"};
  }
  if (archive_write_data(writer.get(), chunk.data(), got) != static_cast<la_ssize_t>(got)) {
    return internal_error(current->name + ": " + archive_message(writer.get()));
  }
  bytes_read += got;
  left -= got;
  if (left == 0) {
    current = nullptr;
    file.reset();
  }
  return {};
}

Status PackageReader::State::step() {
  if (writer == nullptr) RETURN_IF_ERROR(open_writer());
  if (current != nullptr) return copy_some();
  if (next < plan.entries.size()) return begin(plan.entries[next++]);
  if (archive_write_close(writer.get()) != ARCHIVE_OK) return internal_error("zip: " + archive_message(writer.get()));
  finished = true;
  return {};
}

PackageReader::PackageReader(const PackagePlan& plan) : state_(new State{.plan = plan}) {}
PackageReader::~PackageReader() = default;

std::uint64_t PackageReader::bytes_read() const { return state_->bytes_read; }

Result<std::size_t> PackageReader::read(std::span<char> into) {
  State& state = *state_;
  if (!state.plan.zip_path.empty()) {
    if (!state.file.valid()) {
      ASSIGN_OR_RETURN(state.file, sys::open(state.plan.zip_path, O_RDONLY));
    }
    ASSIGN_OR_RETURN(const std::size_t got, sys::read_some(state.file, into));
    state.bytes_read += got;
    return got;
  }
  while (state.ready_at == state.ready.size() && !state.finished) {
    state.ready.clear();
    state.ready_at = 0;
    RETURN_IF_ERROR(state.step());
  }
  const std::size_t count = std::min(into.size(), state.ready.size() - state.ready_at);
  std::memcpy(into.data(), state.ready.data() + state.ready_at, count);
  state.ready_at += count;
  return count;
}

}  // namespace thaw::cli
