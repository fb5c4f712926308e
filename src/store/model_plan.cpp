#include "store/model_plan.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "base/digest/sha256.h"
#include "store/open_model_memory.h"

namespace thaw::store {
namespace {

constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kModelBytesMax = 1ULL << 46;  // keeps sums of sizes far from overflow

Result<std::vector<FileToFetch>> files_of_folder(ports::ObjectStore& store, const ModelUri& uri,
                                                 const FetchLimits& limits, FetchState& state) {
  std::vector<FileToFetch> files;
  ports::ObjectList list{.prefix = uri.key};
  // Pages without a file are no progress; a list that only consists of such ends all the same.
  for (std::size_t pages = 0; pages < 2 * kModelFilesMax; ++pages) {
    ASSIGN_OR_RETURN(ports::ObjectPage page, list_with_retries(store, list, limits, state));
    for (ports::ObjectInfo& object : page.objects) {
      if (!object.key.starts_with(uri.key)) continue;
      const std::string path = object.key.substr(uri.key.size());
      // What consoles make to show an empty folder.
      if (object.bytes == 0 && (path.empty() || path.ends_with('/'))) continue;
      if (!is_safe_path(path))
        return invalid_argument(uri.text + ": the object '" + object.key.substr(0, 200) +
                                "' cannot be a file below a folder");
      if (files.size() >= kModelFilesMax) {
        return Error{ErrorKind::too_large,
                     uri.text + ": more than " + std::to_string(kModelFilesMax) + " objects in the folder"};
      }
      files.push_back({std::move(object), path, ""});
      files.back().sha256 = files.back().object.sha256;
    }
    if (page.next.empty() || page.next == list.after) return files;
    list.after = page.next;
  }
  return Error{ErrorKind::too_large, uri.text + ": the list of objects does not end"};
}

// A store may have an object "a" beside "a/b"; a folder cannot.
Status check_no_file_is_a_folder(const std::vector<FileToFetch>& files) {
  std::set<std::string_view> paths;
  for (const FileToFetch& file : files) paths.insert(file.path);
  for (const std::string_view path : paths) {
    for (std::size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/', slash + 1)) {
      if (paths.contains(path.substr(0, slash)))
        return invalid_argument("the object '" + std::string(path.substr(0, slash)) + "' would be a file and a folder");
    }
  }
  return {};
}

Result<std::vector<FileToFetch>> single_file(ports::ObjectStore& store, const ModelUri& uri, const std::string& sha256,
                                             const FetchLimits& limits, FetchState& state) {
  ASSIGN_OR_RETURN(ports::ObjectInfo object, head_with_retries(store, uri.key, limits, state));
  if (!sha256.empty() && !object.sha256.empty() && sha256 != object.sha256) {
    return Error{ErrorKind::corrupt,
                 uri.text + ": its SHA-256 is " + object.sha256 + " by the store's word and should be " + sha256};
  }
  if (object.bytes == 0) return invalid_argument(uri.text + ": the object is empty");
  std::vector<FileToFetch> files(1);
  files[0].path = uri.file_name();
  files[0].sha256 = sha256.empty() ? object.sha256 : sha256;
  files[0].object = std::move(object);
  return files;
}

}  // namespace

Result<ModelPlan> plan_model(ports::ObjectStore& store, const ModelUri& uri, const std::string& sha256,
                             const FetchLimits& limits, FetchState& state) {
  ModelPlan plan;
  if (uri.folder) {
    ASSIGN_OR_RETURN(plan.files, files_of_folder(store, uri, limits, state));
    if (plan.files.empty()) return Error{ErrorKind::not_found, uri.text + ": there is no object below it"};
    RETURN_IF_ERROR(check_no_file_is_a_folder(plan.files));
  } else {
    ASSIGN_OR_RETURN(plan.files, single_file(store, uri, sha256, limits, state));
  }
  std::sort(plan.files.begin(), plan.files.end(),
            [](const FileToFetch& a, const FileToFetch& b) { return a.path < b.path; });
  std::string lines;
  bool tells_changes = true;
  for (const FileToFetch& file : plan.files) {
    if (file.object.bytes > kModelBytesMax || plan.bytes > kModelBytesMax)
      return Error{ErrorKind::too_large, uri.text + ": an object of " + std::to_string(file.object.bytes) + " bytes"};
    plan.bytes += file.object.bytes;
    plan.memory_bytes += (file.object.bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
    tells_changes = tells_changes && !(file.object.etag.empty() && file.object.sha256.empty());
    lines += std::to_string(file.path.size()) + " " + file.path + " " + std::to_string(file.object.bytes) + " " +
             file.object.etag + " " + file.object.sha256 + "\n";
  }
  if (tells_changes) plan.fingerprint = hex(thaw::sha256(lines));
  return plan;
}

}  // namespace thaw::store
