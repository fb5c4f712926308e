#include "package.h"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <locale.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "deploy_request.h"

namespace thaw::cli {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

struct Unpacked {
  std::string content;
  std::string link;
  mode_t mode = 0;
};

// Reads the zip from its start to its end, as the daemon may while it arrives, and once more by its directory.
std::map<std::string, Unpacked> unpack(const std::string& zip, bool seekable) {
  archive* reader = archive_read_new();
  if (seekable) {
    archive_read_support_format_zip_seekable(reader);
  } else {
    archive_read_support_format_zip_streamable(reader);
  }
  EXPECT_EQ(archive_read_open_memory(reader, zip.data(), zip.size()), ARCHIVE_OK);
  std::map<std::string, Unpacked> files;
  archive_entry* entry = nullptr;
  int code = ARCHIVE_OK;
  while ((code = archive_read_next_header(reader, &entry)) == ARCHIVE_OK) {
    Unpacked file;
    if (const char* link = archive_entry_symlink(entry)) file.link = link;
    file.mode = archive_entry_perm(entry);
    char chunk[4096];
    la_ssize_t got = 0;
    while ((got = archive_read_data(reader, chunk, sizeof chunk)) > 0) file.content.append(chunk, got);
    EXPECT_EQ(got, 0) << archive_error_string(reader);
    files[archive_entry_pathname(entry)] = file;
  }
  EXPECT_EQ(code, ARCHIVE_EOF) << archive_error_string(reader);
  archive_read_free(reader);
  return files;
}

class Package : public testing::Test {
 protected:
  Package() {
    // libarchive names files by the locale's character set.
    ::setlocale(LC_CTYPE, "C.UTF-8");
    char folder[] = "/tmp/thaw-package-test-XXXXXX";
    root_ = mkdtemp(folder);
  }
  ~Package() override { fs::remove_all(root_); }

  void write(const std::string& name, const std::string& content) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << content;
  }
  static std::string pack(const PackagePlan& plan, std::size_t step) {
    PackageReader reader(plan);
    std::string zip;
    std::vector<char> chunk(step);
    for (;;) {
      const Result<std::size_t> got = reader.read(chunk);
      EXPECT_TRUE(got.ok()) << got.error().message;
      if (!got.ok() || *got == 0) break;
      zip.append(chunk.data(), *got);
    }
    EXPECT_EQ(reader.bytes_read(), plan.bytes);
    return zip;
  }
  std::string error() {
    const Result<PackagePlan> plan = plan_package(root_.string());
    return plan.ok() ? "no error" : plan.error().message;
  }

  fs::path root_;
};

TEST_F(Package, FolderArrivesWhole) {
  write("thaw.toml", "name = \"hello\"\ncommand = \"./run\"\n");
  write("run", "#!/bin/sh\n");
  ::chmod((root_ / "run").c_str(), 0700);
  write("deep/er/données.bin", std::string(300000, 'x') + "end");
  write("empty", "");
  fs::create_symlink("er/données.bin", root_ / "deep/link");
  fs::create_symlink("../run", root_ / "deep/up");
  const Result<PackagePlan> plan = plan_package(root_.string());
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  for (const std::size_t step : {std::size_t{1000}, std::size_t{1} << 20}) {
    const std::string zip = pack(*plan, step);
    for (const bool seekable : {true, false}) {
      const auto files = unpack(zip, seekable);
      EXPECT_EQ(files.at("deep/er/données.bin").content, std::string(300000, 'x') + "end");
      EXPECT_EQ(files.at("empty").content, "");
      if (!seekable) continue;  // modes and links stand in the directory at the end
      EXPECT_EQ(files.at("run").mode, 0755u);
      EXPECT_EQ(files.at("thaw.toml").mode, 0644u);
      EXPECT_EQ(files.at("deep/link").link, "er/données.bin");
      EXPECT_EQ(files.at("deep/up").link, "../run");
    }
  }
}

TEST_F(Package, RepositoryAndCacheFoldersAreLeftOut) {
  write("thaw.toml", "command = \"x\"\n");
  write(".git/config", "secret");
  write("a/__pycache__/x.pyc", "");
  write("a/x.py", "");
  const Result<PackagePlan> plan = plan_package(root_.string());
  ASSERT_TRUE(plan.ok());
  const auto files = unpack(pack(*plan, 4096), true);
  EXPECT_EQ(files.count("a/x.py"), 1u);
  EXPECT_EQ(files.size(), 3u);  // a/, a/x.py, thaw.toml
  EXPECT_THAT(plan->notes, testing::ElementsAre("left out: .git folders", "left out: __pycache__ folders"));
}

TEST_F(Package, LinksThatLeaveTheFolderAreNamed) {
  write("thaw.toml", "command = \"x\"\n");
  write("sub/x", "");
  for (const char* target : {"/etc/passwd", "../../etc/passwd", "../sub/../../x"}) {
    fs::create_symlink(target, root_ / "sub/link");
    EXPECT_THAT(error(), HasSubstr("sub/link: this link leaves the folder")) << target;
    fs::remove(root_ / "sub/link");
  }
  // Each of the two stays inside by its text; both together do not.
  fs::create_symlink("..", root_ / "sub/root");
  EXPECT_THAT(error(), testing::AnyOf("no error", HasSubstr("leaves the folder")));
  fs::create_symlink("sub/root/../outside", root_ / "chained");
  EXPECT_THAT(error(), HasSubstr("leaves the folder"));
}

TEST_F(Package, PipesAndSocketsAreNamed) {
  write("thaw.toml", "command = \"x\"\n");
  ASSERT_EQ(::mkfifo((root_ / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error(), HasSubstr("pipe: neither a file, a folder nor a link"));
}

TEST_F(Package, FileThatChangesWhilePackedIsAnError) {
  write("thaw.toml", "command = \"x\"\n");
  write("data", "12345");
  const Result<PackagePlan> plan = plan_package(root_.string());
  ASSERT_TRUE(plan.ok());
  write("data", "1234567");
  PackageReader reader(*plan);
  char chunk[4096];
  Result<std::size_t> got = reader.read(chunk);
  while (got.ok() && *got > 0) got = reader.read(chunk);
  ASSERT_FALSE(got.ok());
  EXPECT_THAT(got.error().message, HasSubstr("data changed while it was packed"));
}

TEST_F(Package, ReaderMayBeDroppedHalfway) {
  write("thaw.toml", "command = \"x\"\n");
  write("data", std::string(1 << 20, 'x'));
  const Result<PackagePlan> plan = plan_package(root_.string());
  ASSERT_TRUE(plan.ok());
  for (std::size_t bytes = 1; bytes < (1 << 20); bytes *= 3) {
    PackageReader reader(*plan);
    std::vector<char> chunk(bytes);
    ASSERT_TRUE(reader.read(chunk).ok());
  }
}

TEST_F(Package, BareModelTakesTheFilesBesideIt) {
  write("model/model.onnx", "weights");
  write("model/config.json", "{}");
  write("model/tokenizer.json", "{}");
  write("model/pytorch_model.bin", "not wanted");
  fs::create_directories(root_ / "blobs");
  write("blobs/vocab", "[PAD]\n");
  fs::create_symlink("../blobs/vocab", root_ / "model/vocab.txt");  // as in Hugging Face's cache
  for (const char* path : {"model", "model/model.onnx"}) {
    const Result<PackagePlan> plan = plan_package((root_ / path).string());
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    EXPECT_EQ(plan->suggested_name, "model");
    const auto files = unpack(pack(*plan, 4096), true);
    EXPECT_EQ(files.size(), 4u);
    EXPECT_EQ(files.at("model.onnx").content, "weights");
    EXPECT_EQ(files.at("vocab.txt").content, "[PAD]\n");
    const Result<DeployRequest> request = check_deploy(*plan, {.path = path, .name = "qa"});
    ASSERT_TRUE(request.ok()) << request.error().message;
    EXPECT_EQ(request->name, "qa");
  }
  fs::remove(root_ / "model/tokenizer.json");
  fs::remove(root_ / "model/vocab.txt");
  const Result<PackagePlan> neither = plan_package((root_ / "model").string());
  ASSERT_FALSE(neither.ok());
  EXPECT_THAT(neither.error().message, HasSubstr("no tokenizer.json, vocab.txt or preprocessor_config.json beside"));
  write("model/preprocessor_config.json", "{}");
  const Result<PackagePlan> classifier = plan_package((root_ / "model").string());
  ASSERT_TRUE(classifier.ok()) << classifier.error().message;
  EXPECT_THAT(classifier->manifest, HasSubstr("image-classification"));
  fs::remove(root_ / "model/config.json");
  const Result<PackagePlan> plan = plan_package((root_ / "model").string());
  ASSERT_FALSE(plan.ok());
  EXPECT_THAT(plan.error().message, HasSubstr("no config.json beside"));
}

TEST_F(Package, GgufFileIsAModelOfItsOwn) {
  write("My chat.Q4_0.gguf", "GGUF");
  const Result<PackagePlan> plan = plan_package((root_ / "My chat.Q4_0.gguf").string());
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_EQ(plan->suggested_name, "My-chat-Q4-0");
  const auto files = unpack(pack(*plan, 4096), true);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files.at("My chat.Q4_0.gguf").content, "GGUF");
  const Result<DeployRequest> request = check_deploy(*plan, {.path = "x", .settings = {"context=256"}});
  ASSERT_TRUE(request.ok()) << request.error().message;
}

TEST_F(Package, AddressBecomesAManifest) {
  const Result<PackagePlan> plan = plan_package("s3://models/folder/chat.gguf");
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_EQ(plan->suggested_name, "chat");
  const auto files = unpack(pack(*plan, 4096), true);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files.at("thaw.toml").content, "engine = \"llama-server\"\nmodel = \"s3://models/folder/chat.gguf\"\n");
  const Result<PackagePlan> folder = plan_package("s3://models/qa/");
  ASSERT_TRUE(folder.ok()) << folder.error().message;
  EXPECT_EQ(folder->suggested_name, "qa");
  EXPECT_THAT(folder->manifest, HasSubstr("engine = \"thaw-onnx\"\nmodel = \"s3://models/qa/\""));
  const Result<PackagePlan> other = plan_package("https://example.com/page.html");
  ASSERT_FALSE(other.ok());
  EXPECT_THAT(other.error().message, HasSubstr("is it a model?"));
}

TEST_F(Package, OtherFilesAreNoPackages) {
  write("a.zip", "this is no zip");
  const Result<PackagePlan> plan = plan_package((root_ / "a.zip").string());
  ASSERT_FALSE(plan.ok());
  EXPECT_THAT(plan.error().message, HasSubstr("is not a zip file"));
  EXPECT_THAT(error(), HasSubstr("neither thaw.toml nor model.onnx"));
}

TEST(NameFrom, MakesAValidName) {
  EXPECT_EQ(name_from("My model (v2)"), "My-model-v2");
  EXPECT_EQ(name_from("--a__b--"), "a-b");
  EXPECT_EQ(name_from("日本"), "");
  EXPECT_EQ(name_from(std::string(100, 'x')).size(), 63u);
}

TEST(Overrides, AreTomlOfTheOptions) {
  DeployOptions options;
  options.name = "n";
  options.memory_mb = 256;
  options.environment = {"A=1", "B=x=\"y\"", "A=2"};
  options.settings = {"idle_s=60", "task=question-answering", "command=[\"a\", \"b\"]", "environment.C=5",
                      "readiness_path=/x\nname = \"injected\""};
  const Result<std::string> text = overrides_of(options);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text,
            "\"command\" = [\"a\", \"b\"]\n"
            "\"idle_s\" = 60\n"
            "\"memory_mb\" = 256\n"
            "\"name\" = \"n\"\n"
            "\"readiness_path\" = \"/x\\u000Aname = \\\"injected\\\"\"\n"
            "\"task\" = \"question-answering\"\n"
            "[environment]\n"
            "\"A\" = \"2\"\n"
            "\"B\" = \"x=\\\"y\\\"\"\n"
            "\"C\" = \"5\"\n");
}

TEST(CheckDeploy, SaysWhatIsWrongBeforeTheUpload) {
  PackagePlan plan;
  plan.manifest = "command = \"./run.sh\"\n";
  plan.suggested_name = "folder";
  plan.entries.push_back({PackageEntry::Kind::file, "run.sh", "/x/run.sh", 1, 0644, 0});
  const auto error = [&](const DeployOptions& options) {
    const Result<DeployRequest> request = check_deploy(plan, options);
    return request.ok() ? "name " + request->name : request.error().message;
  };
  EXPECT_THAT(error({}), HasSubstr("chmod +x /x/run.sh"));
  plan.entries[0].mode = 0755;
  EXPECT_EQ(error({}), "name folder");
  plan.entries[0].name = "other.sh";
  EXPECT_THAT(error({}), HasSubstr("holds no ./run.sh"));
  EXPECT_THAT(error({.memory_mb = 5}), HasSubstr("memory_mb = 5 is out of range: 128 to 10240"));
  EXPECT_THAT(error({.name = "no/slash"}), HasSubstr("no/slash"));
  EXPECT_THAT(error({.environment = {"PORT=1"}}), HasSubstr("PORT"));
  EXPECT_THAT(error({.settings = {"memroy_mb=5"}}), HasSubstr("did you mean memory_mb?"));
  plan.manifest = "name = \"x\"\n";
  EXPECT_THAT(error({}), HasSubstr("command or engine is missing"));
}

}  // namespace
}  // namespace thaw::cli
