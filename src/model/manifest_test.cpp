#include "model/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thaw::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string error_of(std::string_view manifest, std::string_view overrides = "") {
  const auto config = read_manifest({.manifest = manifest, .overrides = overrides});
  return config.ok() ? "no error" : config.error().message;
}

// A manifest with one more line.
std::string error_with(const std::string& line) { return error_of("command = \"./run\"\n" + line + "\n"); }

TEST(Manifest, EveryKeyIsRead) {
  const auto config = read_manifest({.manifest = R"(
name = "hello"
command = ["python3", "-m", "uvicorn", "--port", "${PORT}"]
memory_mb = 1024
ephemeral_mb = 64
timeout_s = 900
init_timeout_s = 5
concurrency = 4
environments_max = 3
queue_max = 7
idle_s = 86400
port = 9000
readiness_path = "/health?deep=1"
[environment]
MODE = "fast"
EMPTY = ""
)"});
  ASSERT_TRUE(config.ok()) << config.error().message;
  const FunctionConfig expected{.name = "hello",
                                .command = {"python3", "-m", "uvicorn", "--port", "${PORT}"},
                                .environment = {{"MODE", "fast"}, {"EMPTY", ""}},
                                .memory_mb = 1024,
                                .ephemeral_mb = 64,
                                .timeout_s = 900,
                                .init_timeout_s = 5,
                                .concurrency = 4,
                                .environments_max = 3,
                                .queue_max = 7,
                                .idle_s = 86400,
                                .port = 9000,
                                .readiness_path = "/health?deep=1"};
  EXPECT_EQ(*config, expected);
}

TEST(Manifest, DefaultsAreThoseOfTheConfiguration) {
  const auto config = read_manifest({.manifest = "command = './run --all'"});
  ASSERT_TRUE(config.ok()) << config.error().message;
  FunctionConfig expected;
  expected.command = {"./run", "--all"};
  EXPECT_EQ(*config, expected);
}

TEST(Manifest, UnknownKeyIsNamedWithTheNearestOne) {
  EXPECT_EQ(error_with("memroy_mb = 512"), "thaw.toml: unknown key \"memroy_mb\"; did you mean memory_mb?");
  EXPECT_THAT(error_with("timeout = 3"), HasSubstr("\"timeout\"; did you mean timeout_s?"));
  EXPECT_THAT(error_with("zzzzzzzzzzz = 3"), Not(HasSubstr("did you mean")));
  EXPECT_THAT(error_with("[function]\nmemory_mb = 512"), HasSubstr("without a [function] table"));
  EXPECT_THAT(error_with("\"a\\nb\" = 3"), HasSubstr("\"a?b\""));
}

TEST(Manifest, ValueOutOfRangeIsNamedWithItsLimits) {
  EXPECT_EQ(error_with("memory_mb = 127"), "thaw.toml: memory_mb = 127 is out of range: 128 to 10240");
  EXPECT_THAT(error_with("memory_mb = 10241"), HasSubstr("128 to 10240"));
  EXPECT_THAT(error_with("memory_mb = 4294967808"), HasSubstr("memory_mb = 4294967808 is out of range"));
  EXPECT_THAT(error_with("timeout_s = -1"), HasSubstr("timeout_s = -1 is out of range: 1 to 900"));
  EXPECT_THAT(error_with("timeout_s = 901"), HasSubstr("1 to 900"));
  EXPECT_THAT(error_with("init_timeout_s = 0"), HasSubstr("1 to 900"));
  EXPECT_THAT(error_with("ephemeral_mb = 0"), HasSubstr("1 to 10240"));
  EXPECT_THAT(error_with("concurrency = 1001"), HasSubstr("1 to 1000"));
  EXPECT_THAT(error_with("environments_max = 0"), HasSubstr("1 to 1000"));
  EXPECT_THAT(error_with("queue_max = 10001"), HasSubstr("1 to 10000"));
  EXPECT_THAT(error_with("idle_s = 86401"), HasSubstr("1 to 86400"));
  EXPECT_THAT(error_with("port = 80"), HasSubstr("1024 to 65535"));
  EXPECT_THAT(error_with("port = 65536"), HasSubstr("1024 to 65535"));
  for (const char* path : {"", "health", "/a b", "/a\\r\\nHost: x", "/\\u00e9"}) {
    EXPECT_THAT(error_with("readiness_path = \"" + std::string(path) + "\""), HasSubstr("readiness_path")) << path;
  }
}

TEST(Manifest, WrongTypeIsNamed) {
  EXPECT_EQ(error_with("memory_mb = \"512\""), "thaw.toml: memory_mb must be a whole number, not a string");
  EXPECT_THAT(error_with("memory_mb = 512.0"), HasSubstr("not a decimal number"));
  EXPECT_THAT(error_with("name = 3"), HasSubstr("name must be a string, not a whole number"));
  EXPECT_THAT(error_with("environment = 3"), HasSubstr("environment must be a table of strings"));
  EXPECT_THAT(error_with("[environment]\nA = 3"), HasSubstr("environment.A must be a string"));
  EXPECT_THAT(error_with("[environment.A]\nB = 'x'"), HasSubstr("environment.A must be a string, not a table"));
  EXPECT_THAT(error_of("command = 3"), HasSubstr("command must be a string or an array of strings"));
  EXPECT_THAT(error_of("command = [\"a\", 3]"), HasSubstr("each item of command must be a string"));
  EXPECT_THAT(error_with("[[memory_mb]]"), HasSubstr("not an array"));
}

TEST(Manifest, ExactlyOneOfCommandAndEngine) {
  EXPECT_THAT(error_of(""), HasSubstr("command or engine is missing"));
  EXPECT_THAT(error_with("engine = 'thaw-onnx'"), HasSubstr("exclude each other"));
  EXPECT_THAT(error_with("task = 'question-answering'"), HasSubstr("task belongs to an engine"));
  EXPECT_THAT(error_of("engine = 'tensorflow'"),
              HasSubstr("\"tensorflow\" is unknown; the engines are: thaw-onnx, llama-server"));
  EXPECT_THAT(error_of("engine = 'thaw-onnx'\ntask = 'telepathy'"), HasSubstr("\"telepathy\" is unknown"));
  EXPECT_THAT(error_of("engine = ''"), HasSubstr("engine is empty"));
  EXPECT_THAT(error_of("command = []"), HasSubstr("command is empty"));
  EXPECT_THAT(error_of("command = '  '"), HasSubstr("command is empty"));
  EXPECT_THAT(error_of("command = ['']"), HasSubstr("empty argument"));
  EXPECT_THAT(error_of("command = [\"a\\u0000b\"]"), HasSubstr("NUL"));
}

TEST(Manifest, ModelOfLlamaServerIsRead) {
  const auto config = read_manifest({.manifest = R"(
engine = "llama-server"
model = "s3://models/chat.gguf"
model_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
context = 2048
system_prompt = "You are brief.\nVery."
engine_arguments = ["--flash-attn", "on"]
)"});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->model, "s3://models/chat.gguf");
  EXPECT_EQ(config->context, 2048u);
  EXPECT_EQ(config->system_prompt, "You are brief.\nVery.");
  EXPECT_EQ(config->engine_arguments, (std::vector<std::string>{"--flash-attn", "on"}));
  EXPECT_EQ(config->readiness_path, "/health");
  EXPECT_EQ(config->memory_mb, 2 * kMemoryMbPerVcpu);
  const auto bare = read_manifest({.manifest = bare_gguf_manifest("my \"model\".gguf")});
  ASSERT_TRUE(bare.ok()) << bare.error().message;
  EXPECT_EQ(bare->model, "my \"model\".gguf");
}

TEST(Manifest, ModelIsChecked) {
  const std::string llama = "engine = 'llama-server'\n";
  EXPECT_THAT(error_of(llama), HasSubstr("model is missing"));
  EXPECT_THAT(error_of(llama + "model = '../model.gguf'"), HasSubstr("leads out of the package"));
  EXPECT_THAT(error_of(llama + "model = '/etc/model.gguf'"), HasSubstr("leads out of the package"));
  EXPECT_THAT(error_of(llama + "model = 'a//b.gguf'"), HasSubstr("leads out of the package"));
  EXPECT_THAT(error_of(llama + "model = \"a\\nb.gguf\""), HasSubstr("control character"));
  EXPECT_THAT(error_of(llama + "model = '" + std::string(3000, 'a') + "'"), HasSubstr("at most 2048"));
  EXPECT_THAT(error_of(llama + "model = 'm.gguf'\nmodel_sha256 = 'E3'"), HasSubstr("64 digits"));
  EXPECT_THAT(error_of(llama + "model = 'm.gguf'\ncontext = 2000000"), HasSubstr("out of range: 0 to 1048576"));
  EXPECT_THAT(error_of(llama + "model = 'm.gguf'\nengine_arguments = '--x'"), HasSubstr("an array of strings"));
  EXPECT_THAT(error_of(llama + "model = 'm.gguf'\ntask = 'question-answering'"), HasSubstr("thaw-onnx"));
  EXPECT_THAT(error_of(llama + "model = 'm.gguf'\nsystem_prompt = '" + std::string(40000, 'a') + "'"),
              HasSubstr("at most 32768"));
  EXPECT_THAT(error_with("context = 5"), HasSubstr("context belongs to the engine llama-server"));
  EXPECT_THAT(error_with("system_prompt = 'x'"), HasSubstr("system_prompt belongs to the engine llama-server"));
  EXPECT_THAT(error_with("model_sha256 = '" + std::string(64, 'a') + "'"), HasSubstr("but no model"));
  EXPECT_TRUE(is_model_address("hf:owner/repo/file.gguf"));
  EXPECT_FALSE(is_model_address("folder/a:b.gguf"));
}

TEST(Manifest, EngineBringsItsDefaultsByTheSizeOfTheModel) {
  const auto small = read_manifest({.manifest = kBareModelManifest, .package_bytes = 30 << 20});
  ASSERT_TRUE(small.ok());
  EXPECT_EQ(small->engine, "thaw-onnx");
  EXPECT_EQ(small->memory_mb, 1769U);
  EXPECT_EQ(small->concurrency, 8U);
  const auto large = read_manifest({.manifest = kBareModelManifest, .package_bytes = 1 << 30});
  ASSERT_TRUE(large.ok());
  EXPECT_GE(large->memory_mb, 3 * 1024U);
  EXPECT_LE(large->memory_mb, 4 * 1024U);
  const auto huge = read_manifest({.manifest = kBareModelManifest, .package_bytes = UINT64_MAX});
  ASSERT_TRUE(huge.ok());
  EXPECT_EQ(huge->memory_mb, kMemoryMbMax);
  const auto own = read_manifest({.manifest = "engine = 'thaw-onnx'\nmemory_mb = 600", .package_bytes = 1 << 30});
  ASSERT_TRUE(own.ok());
  EXPECT_EQ(own->memory_mb, 600U);
}

TEST(Manifest, OverridesReplaceAndMerge) {
  const auto config = read_manifest({.manifest = "command = './run'\nmemory_mb = 512\n[environment]\nA = '1'\nB = '2'",
                                     .overrides = "memory_mb = 1024\n[environment]\nB = '3'\nC = '4'"});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->memory_mb, 1024U);
  EXPECT_EQ(config->command, std::vector<std::string>{"./run"});
  EXPECT_EQ(config->environment, (std::map<std::string, std::string>{{"A", "1"}, {"B", "3"}, {"C", "4"}}));

  const auto engine = read_manifest({.manifest = "command = './run'", .overrides = "engine = 'thaw-onnx'"});
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  EXPECT_TRUE(engine->command.empty());
  EXPECT_EQ(engine->concurrency, 8U);
  const auto command = read_manifest(
      {.manifest = "engine = 'thaw-onnx'\ntask = 'question-answering'", .overrides = "command = './run'"});
  ASSERT_TRUE(command.ok()) << command.error().message;
  EXPECT_TRUE(command->engine.empty());
  EXPECT_EQ(command->concurrency, 1U);

  EXPECT_EQ(error_of("command = './run'", "memory = 3"),
            "the overrides: unknown key \"memory\"; did you mean memory_mb?");
}

TEST(Manifest, EnvironmentNamesAreCheckedAndReservedOnesRefused) {
  for (const char* name : {"PORT", "_HANDLER", "AWS_LAMBDA_RUNTIME_API", "THAW_X"}) {
    EXPECT_THAT(error_with("[environment]\n" + std::string(name) + " = 'x'"),
                HasSubstr(std::string(name) + " is set by Thaw"));
  }
  for (const char* name : {"", "1A", "A-B", "A B", "A=B", "\\u00e9", "A\\u0000"}) {
    EXPECT_THAT(error_with("[environment]\n\"" + std::string(name) + "\" = 'x'"), HasSubstr("no variable name"))
        << name;
  }
  EXPECT_THAT(error_with("[environment]\nA = \"\\u0000\""), HasSubstr("NUL"));
  EXPECT_EQ(error_with("[environment]\nPORTS = 'x'\nAWS_REGION = 'x'"), "no error");
}

TEST(Manifest, SizesAreBounded) {
  const std::string big(kEnvironmentBytesMax, 'x');
  const auto environment = read_manifest({.manifest = "command = 'x'\n[environment]\nA = '" + big + "'"});
  ASSERT_FALSE(environment.ok());
  EXPECT_EQ(environment.error().kind, ErrorKind::too_large);
  EXPECT_THAT(environment.error().message, HasSubstr("32768"));
  const auto command = read_manifest({.manifest = "command = ['" + big + "']"});
  ASSERT_FALSE(command.ok());
  EXPECT_EQ(command.error().kind, ErrorKind::too_large);
  const auto manifest = read_manifest({.manifest = "#" + std::string(kManifestBytesMax, 'x')});
  ASSERT_FALSE(manifest.ok());
  EXPECT_EQ(manifest.error().kind, ErrorKind::too_large);
}

TEST(Manifest, TextThatIsNoTomlIsNamedByLine) {
  EXPECT_THAT(error_of("command = 'x'\nmemory_mb ="), HasSubstr("thaw.toml: line 2"));
  EXPECT_THAT(error_of("command = 'x'\ncommand = 'y'"), HasSubstr("line 2"));
  EXPECT_THAT(error_of("command = '\xff'"), HasSubstr("line 1"));
  EXPECT_THAT(error_of(std::string("command = 'x'\0", 14)), HasSubstr("line 1"));
}

TEST(Manifest, LettersBeyondAsciiOutsideQuotesAreAnError) {
  for (const char* text : {"\xc3\xa9 = 1", "comm\xd2\x86nd = 'x'", "command = \xc3\xa9", "command = 'x' \xd0\xb6"}) {
    EXPECT_THAT(error_of(text), HasSubstr("line 1")) << text;
  }
  EXPECT_EQ(error_of("command = \"\"\"./run \\\n  \xc3\xa9\"\"\""), "no error");
}

TEST(Manifest, DeepKeysAndValuesDoNotOverflowTheStack) {
  std::string dots = "a";
  for (int i = 0; i < 120000; ++i) dots += ".a";
  EXPECT_THAT(error_of(dots + " = 1"), HasSubstr("dots"));
  EXPECT_THAT(error_of("[" + dots + "]"), HasSubstr("dots"));
  EXPECT_THAT(error_of("x = {" + dots + " = 1}"), HasSubstr("dots"));
  EXPECT_THAT(error_of("x = " + std::string(100000, '[')), HasSubstr("thaw.toml"));
  // Dots in strings and comments are no keys.
  EXPECT_EQ(
      error_of(
          "# ....................\ncommand = '''.................... '''\nreadiness_path = \"/....................\""),
      "no error");
}

TEST(Manifest, EgressIsReadStoredAndNotBesideASnapshot) {
  const auto config = read_manifest({.manifest = "command = \"./run\"\negress = true\n"});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_TRUE(config->egress);
  EXPECT_EQ(*config_from_json(to_json(*config)), *config);
  EXPECT_EQ(*read_manifest({.manifest = to_toml(*config)}), *config);
  const auto both = read_manifest({.manifest = "command = \"./run\"\negress = true\nsnapshot = true\n"});
  EXPECT_THAT(both.error().message, HasSubstr("egress and snapshot exclude each other"));
}

TEST(Manifest, CallsAreReadStoredAndNeedTheirPort) {
  const auto config = read_manifest({.manifest = "command = \"./run\"\ncalls = true\n"});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_TRUE(config->calls);
  EXPECT_EQ(*config_from_json(to_json(*config)), *config);
  EXPECT_EQ(*read_manifest({.manifest = to_toml(*config)}), *config);
  EXPECT_FALSE(read_manifest({.manifest = "command = \"./run\"\n"})->calls);
  EXPECT_THAT(error_of("command = \"./run\"\ncalls = true\nport = 9002"), HasSubstr("port 9002 is that of THAW_URL"));
  EXPECT_TRUE(read_manifest({.manifest = "command = \"./run\"\nport = 9002\n"}).ok());
}

TEST(Manifest, WarmUpAndHooksAreRead) {
  const auto config = read_manifest({.manifest = R"(
command = "./run"
snapshot = true
before_snapshot_path = "/hooks/before"
after_restore_path = "/hooks/after"
strict_connections = true
[[warm_up]]
path = "/a?b=1"
[[warm_up]]
path = "/ask"
body = '{"question": "why?"}'
[[warm_up]]
method = "PUT"
path = "/text"
body = "plain"
content_type = "text/plain; charset=utf-8"
)"});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_TRUE(config->snapshot);
  EXPECT_TRUE(config->strict_connections);
  EXPECT_EQ(config->before_snapshot_path, "/hooks/before");
  EXPECT_EQ(config->after_restore_path, "/hooks/after");
  const std::vector<WarmUpRequest> expected = {
      {.method = "GET", .path = "/a?b=1"},
      {.method = "POST", .path = "/ask", .body = R"({"question": "why?"})"},
      {.method = "PUT", .path = "/text", .body = "plain", .content_type = "text/plain; charset=utf-8"}};
  EXPECT_EQ(config->warm_up, expected);
  const auto from_toml = read_manifest({.manifest = to_toml(*config)});
  ASSERT_TRUE(from_toml.ok()) << from_toml.error().message;
  EXPECT_EQ(*from_toml, *config);
  const auto from_json = config_from_json(to_json(*config));
  ASSERT_TRUE(from_json.ok()) << from_json.error().message;
  EXPECT_EQ(*from_json, *config);
}

TEST(Manifest, SchedulesAreReadCheckedAndStored) {
  const std::string event = "runtime = \"python3.11\"\nhandler = \"a.b\"\n";
  const auto config =
      read_manifest({.manifest = event + "[[schedules]]\nname = \"nightly\"\nschedule = \"cron(0 3 * * ? *)\"\n"
                                         "input = \"{}\"\nqualifier = \"live\"\n"
                                         "[[schedules]]\nname = \"often\"\nschedule = \"rate(5 minutes)\"\n"
                                         "enabled = false\n"});
  ASSERT_TRUE(config.ok()) << config.error().message;
  const std::vector<ScheduleSpec> expected = {
      {.name = "nightly", .expression = "cron(0 3 * * ? *)", .qualifier = "live", .input = "{}"},
      {.name = "often", .expression = "rate(5 minutes)", .enabled = false}};
  EXPECT_EQ(config->schedules, expected);
  const std::string toml = to_toml(*config);
  const auto again = read_manifest({.manifest = toml});
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->schedules, expected);
  const auto stored = config_from_json(to_json(*config));
  ASSERT_TRUE(stored.ok()) << stored.error().message;
  EXPECT_EQ(stored->schedules, expected);
  for (const auto& [text, what] : std::vector<std::pair<std::string, std::string>>{
           {"schedules = 1", "schedules must be an array of tables"},
           {"[[schedules]]\nwhen = \"x\"", "schedules[0]: unknown key \"when\""},
           {"[[schedules]]\nname = \"a\"\nschedule = \"rate(1 minutes)\"", "schedules[0]: the unit of a rate"},
           {"[[schedules]]\nschedule = \"rate(1 minute)\"", "schedules[0]: a schedule's name"},
           {"[[schedules]]\nname = \"a\"\nschedule = \"rate(1 day)\"\n[[schedules]]\nname = \"a\"\n"
            "schedule = \"rate(1 day)\"",
            "given twice"},
       }) {
    const auto refused = read_manifest({.manifest = event + text});
    ASSERT_FALSE(refused.ok()) << text;
    EXPECT_THAT(refused.error().message, HasSubstr(what));
  }
  const auto web =
      read_manifest({.manifest = "command = \"x\"\n[[schedules]]\nname = \"a\"\nschedule = \"rate(1 day)\"\n"});
  ASSERT_FALSE(web.ok());
  EXPECT_THAT(web.error().message, HasSubstr("schedules belong to event functions"));
}

TEST(Manifest, WarmUpAndHooksAreChecked) {
  EXPECT_THAT(error_with("warm_up = 1"), HasSubstr("warm_up must be an array of tables"));
  EXPECT_THAT(error_with("warm_up = [1]"), HasSubstr("warm_up[0] must be a table"));
  EXPECT_THAT(error_with("[[warm_up]]\npaht = \"/\""), HasSubstr("warm_up[0]: unknown key \"paht\""));
  EXPECT_THAT(error_with("[[warm_up]]\n[[warm_up]]\npath = 1"), HasSubstr("warm_up[1].path must be a string"));
  EXPECT_THAT(error_with("[[warm_up]]\npath = \"a\""), HasSubstr("warm_up[0].path must begin with /"));
  EXPECT_THAT(error_with("[[warm_up]]\npath = \"/a b\""), HasSubstr("warm_up[0].path"));
  EXPECT_THAT(error_with("[[warm_up]]\nmethod = \"TRACE\""), HasSubstr("warm_up[0].method \"TRACE\" is not possible"));
  EXPECT_THAT(error_with("[[warm_up]]\ncontent_type = \"a\\r\\nb: c\""), HasSubstr("warm_up[0].content_type"));
  EXPECT_THAT(error_with("before_snapshot_path = \"hook\""), HasSubstr("before_snapshot_path must begin with /"));
  EXPECT_THAT(error_with("after_restore_path = \"/a\\nb\""), HasSubstr("after_restore_path must begin with /"));
  EXPECT_THAT(error_with("strict_connections = \"yes\""), HasSubstr("strict_connections must be true or false"));
  std::string many;
  for (std::size_t i = 0; i <= kWarmUpRequestsMax; ++i) many += "[[warm_up]]\n";
  EXPECT_THAT(error_with(many), HasSubstr("at most 32"));
  EXPECT_THAT(error_with("[[warm_up]]\nbody = \"" + std::string(kWarmUpBytesMax, 'x') + "\""),
              HasSubstr("at most 65536"));
}

TEST(SplitCommand, SplitsAsAShellDoesWithoutExpansion) {
  const auto words = [](std::string_view line) { return split_command(line).value(); };
  EXPECT_THAT(words("python3 -m  http.server\t${PORT}"), ElementsAre("python3", "-m", "http.server", "${PORT}"));
  EXPECT_THAT(words(R"(a 'b c' "d \" e" f\ g '' "x"'y'z)"), ElementsAre("a", "b c", "d \" e", "f g", "", "xyz"));
  EXPECT_THAT(words(R"(echo '$HOME' "$HOME" $HOME * ~)"), ElementsAre("echo", "$HOME", "$HOME", "$HOME", "*", "~"));
  EXPECT_THAT(words("sh -c 'a | b && c'"), ElementsAre("sh", "-c", "a | b && c"));
  EXPECT_THAT(words(""), ElementsAre());
  for (const char* line : {"a 'b", "a \"b", "a \\", "a | b", "a; b", "a && b", "a > b", "a $(b)", "a `b`"}) {
    EXPECT_FALSE(split_command(line).ok()) << line;
  }
}

TEST(FunctionName, IsLambdas) {
  for (const char* name : {"a", "Hello-World-2", "1", "a_b", "-a-"})
    EXPECT_TRUE(check_function_name(name).ok()) << name;
  EXPECT_TRUE(check_function_name(std::string(64, 'a')).ok());
  for (const char* name : {"", "a.b", "a/b", "..", "a b", "a:b", "\xc3\xa9"}) {
    EXPECT_FALSE(check_function_name(name).ok()) << name;
  }
  EXPECT_FALSE(check_function_name(std::string(65, 'a')).ok());
}

TEST(FunctionName, SomeAreLabelsOfHostNames) {
  for (const char* name : {"a", "Hello-World-2", "1"}) EXPECT_TRUE(is_host_label(name)) << name;
  for (const char* name : {"", "-a", "a-", "a_b", "a.b"}) EXPECT_FALSE(is_host_label(name)) << name;
  EXPECT_TRUE(is_host_label(std::string(63, 'a')));
  EXPECT_FALSE(is_host_label(std::string(64, 'a')));
}

FunctionConfig odd_config() {
  FunctionConfig config;
  config.name = "odd";
  config.command = {"./run", "a \"quoted\" \\ one", "line\nbreak\ttab\x01", "\xc3\xa9\xe2\x82\xac", ""};
  config.environment = {{"A", "\"\\\n"}, {"B", ""}};
  config.memory_mb = 777;
  config.port = 1024;
  return config;
}

TEST(Config, TomlRoundTrip) {
  const FunctionConfig config = odd_config();
  const auto again = read_manifest({.manifest = to_toml(config)});
  ASSERT_TRUE(again.ok()) << again.error().message << "\n" << to_toml(config);
  EXPECT_EQ(*again, config);
}

TEST(Config, JsonRoundTrip) {
  const FunctionConfig config = odd_config();
  const auto again = config_from_json(to_json(config));
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(*again, config);
}

TEST(Config, ModelRoundTrip) {
  FunctionConfig config;
  config.name = "chat";
  config.engine = kEngineLlama;
  config.model = "hf:owner/repo/chat.gguf";
  config.context = 512;
  config.system_prompt = "\"quoted\"\n";
  config.engine_arguments = {"--a", ""};
  const auto from_toml = read_manifest({.manifest = to_toml(config)});
  ASSERT_TRUE(from_toml.ok()) << from_toml.error().message << "\n" << to_toml(config);
  EXPECT_EQ(*from_toml, config);
  config.resolved = {"digest", "chat.gguf", 1ULL << 40, 32768, true, "{{ messages }}"};
  const auto from_json = config_from_json(to_json(config));
  ASSERT_TRUE(from_json.ok()) << from_json.error().message;
  EXPECT_EQ(*from_json, config);
  std::string damaged = to_json(config);
  damaged.replace(damaged.find("\"embeds\":true"), 13, "\"embeds\":tru1");
  EXPECT_EQ(config_from_json(damaged).error().kind, ErrorKind::corrupt);
}

TEST(EventFunction, RuntimeMakesOneAndItIsStored) {
  auto config =
      read_manifest({.manifest = "runtime = \"python3.11\"\nhandler = \"app.handler\"\ndescription = \"says hello\"\n"
                                 "http_payload = \"1.0\"\nhttp_stage = \"prod\"\n"});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->kind, FunctionKind::event);
  EXPECT_EQ(config->init_timeout_s, kEventInitTimeoutSeconds);
  const auto written = read_manifest({.manifest = to_toml(*config)});
  ASSERT_TRUE(written.ok()) << written.error().message;
  EXPECT_EQ(*written, *config);
  config->zip = {.sha256 = std::string(64, 'a'), .bytes = 4000000000};
  const auto stored = config_from_json(to_json(*config));
  ASSERT_TRUE(stored.ok()) << stored.error().message;
  EXPECT_EQ(*stored, *config);
}

TEST(EventFunction, WhatDoesNotFitIsNamed) {
  const auto message = [](std::string_view text) {
    const auto config = read_manifest({.manifest = text});
    return config.ok() ? std::string() : config.error().message;
  };
  const auto names = [&](std::string_view text, std::string_view word) {
    EXPECT_NE(message(text).find(word), std::string::npos) << text << ": " << message(text);
  };
  names("runtime = \"ruby3.3\"\nhandler = \"a.b\"", "ruby3.3");
  names("runtime = \"python3.\"\nhandler = \"a.b\"", "unknown");
  names("runtime = \"nodejs20.x\"", "handler is missing");
  names("kind = \"event\"", "runtime");
  names("kind = \"queue\"\ncommand = \"x\"", "kinds are web and event");
  names("command = \"x\"\nhandler = \"a.b\"", "handler belongs to event functions");
  const std::string event = "runtime = \"python3.11\"\nhandler = \"a.b\"\n";
  names("command = \"x\"\nhttp_payload = \"1.0\"", "http_payload belongs to event functions");
  names(event + "http_payload = \"3.0\"", "\"1.0\" or \"2.0\"");
  names("command = \"x\"\nlog_format = \"JSON\"", "log_format belongs to event functions");
  names(event + "log_format = \"XML\"", "\"Text\" or \"JSON\"");
  names(event + "log_level = \"INFO\"", "log_level belongs to log_format");
  names(event + "log_format = \"JSON\"\nlog_level = \"LOUD\"", "levels are TRACE");
  names(event + "http_stage = \"prod\"", "http_stage belongs to http_payload");
  names(event + "http_payload = \"1.0\"\nhttp_stage = \"a/b\"", "http_stage must hold");
  names("runtime = \"provided.al2023\"\n[[warm_up]]\npath = \"/\"", "warm_up belongs to web functions");
  names("runtime = \"provided.al2023\"\nrole = \"" + std::string(257, 'r') + "\"", "at most 256");
  EXPECT_EQ(message("kind = \"event\"\ncommand = \"x\""), "");
  // What is laid over a manifest changes what runs; an engine makes it a web function.
  const std::string_view managed = "runtime = \"python3.11\"\nhandler = \"a.b\"";
  EXPECT_EQ(read_manifest({.manifest = managed, .overrides = "command = \"x\""})->kind, FunctionKind::event);
  EXPECT_EQ(read_manifest({.manifest = managed, .overrides = "engine = \"thaw-onnx\""})->kind, FunctionKind::web);
  EXPECT_EQ(message("runtime = \"provided.al2023\""), "");
}

TEST(Config, StoredFormIsStable) {
  FunctionConfig config;
  config.name = "a";
  config.command = {"x"};
  EXPECT_EQ(to_json(config),
            R"({"format":1,"name":"a","command":["x"],"engine":"","task":"","environment":{},"memory_mb":512,)"
            R"("ephemeral_mb":512,"timeout_s":30,"init_timeout_s":60,"concurrency":1,"environments_max":10,)"
            R"("queue_max":1000,"idle_s":300,"port":8080,"readiness_path":"/"})");
}

TEST(Config, DamagedOrNewerStoredFormIsRefused) {
  std::string json = to_json(odd_config());
  const auto kind_of = [](std::string_view text) { return config_from_json(text).error().kind; };
  EXPECT_EQ(kind_of("{}"), ErrorKind::corrupt);
  EXPECT_EQ(kind_of("nonsense"), ErrorKind::corrupt);
  EXPECT_EQ(kind_of(json.substr(0, json.size() / 2)), ErrorKind::corrupt);
  std::string newer = json;
  newer.replace(newer.find("\"format\":1"), 10, "\"format\":2");
  EXPECT_EQ(kind_of(newer), ErrorKind::unsupported);
  std::string wild = json;
  wild.replace(wild.find("777"), 3, "-77");
  EXPECT_EQ(kind_of(wild), ErrorKind::corrupt);
}

}  // namespace
}  // namespace thaw::model
