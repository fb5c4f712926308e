// thaw-onnx: serves an ONNX model folder over HTTP, or answers one question or names one photo on the command line.
// Wires the parts; the work is in src/onnx.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/log.h"
#include "base/sys.h"
#include "http/server.h"
#include "onnx/cpu_share.h"
#include "onnx/image_server.h"
#include "onnx/question_answering.h"
#include "onnx/question_api.h"
#include "onnx/question_server.h"

namespace {

using namespace thaw;

constexpr std::chrono::seconds kDrainWaitMax{10};
constexpr std::chrono::milliseconds kDrainLookEvery{5};

struct Options {
  std::string model = "/var/task";
  std::string listen;
  std::string task;      // empty: as the model's config.json says
  unsigned threads = 0;  // 0: as many as the CPU share
  unsigned workers = 1;
  std::size_t queue_max = 64;
  std::string swagger_ui;
  std::string ask;
  std::string context;
  std::string classify;   // a photo's path
  std::size_t top_k = 0;  // 0: the task's own
};

int fail(const Error& error) {
  std::fprintf(stderr, "thaw-onnx: %s\n", error.message.c_str());
  return 1;
}

// Swagger UI lies beside the program.
std::string swagger_ui_beside_program() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return {};
  const auto folder = program.parent_path() / "swagger-ui";
  return std::filesystem::is_directory(folder, error) ? folder.string() : std::string();
}

int answer_once(const onnx::QuestionAnswering& model, const Options& options) {
  onnx::QuestionOptions question;
  if (options.top_k > 0) question.top_k = options.top_k;
  const auto answers = model.answer(options.ask, options.context, question);
  if (!answers.ok()) return fail(answers.error());
  std::fputs(onnx::answers_json(*answers, question.top_k).c_str(), stdout);
  return 0;
}

int classify_once(const onnx::ImageClassification& model, const Options& options) {
  onnx::ClassifyOptions classify;
  if (options.top_k > 0) classify.top_k = options.top_k;
  const auto photo = sys::read_file(options.classify, onnx::kPhotoBytesMax);
  if (!photo.ok()) return fail(photo.error());
  const auto labels = model.classify(*photo, classify);
  if (!labels.ok()) return fail(labels.error());
  std::fputs(onnx::labels_json(*labels).c_str(), stdout);
  return 0;
}

// Lets what runs finish, within a bound.
void drain(http::Server& server) {
  server.stop_accepting();
  const auto until = std::chrono::steady_clock::now() + kDrainWaitMax;
  while (server.connections() > 0 && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(kDrainLookEvery);
  if (const std::size_t left = server.connections(); left > 0) log::warn("connections_cut_off count={}", left);
  server.cut_off();
}

onnx::TaskServerOptions server_options(const Options& options) {
  return {.swagger_ui = options.swagger_ui, .workers = {.workers = options.workers, .queue_max = options.queue_max}};
}

int serve(onnx::TaskServer& task, const std::string& model, const http::HostPort& address) {
  http::Loops loops(1);
  http::Server server(loops, {}, [&](http::Exchange& exchange) { return task.handle(exchange); });
  const auto port = server.listen_tcp(address.host, address.port);
  if (!port.ok()) return fail(port.error());
  loops.start();
  log::info("listening address={} port={} model={} onnx_runtime={}", address.host, *port, model,
            onnx::onnx_runtime_version());
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  int received = 0;
  sigwait(&signals, &received);
  log::info("stopping signal={}", received);
  drain(server);
  loops.stop();
  return 0;
}

// Blocked before any thread of the server starts, so that all inherit it and sigwait() gets the signal.
void block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

// Loads the model and serves it, or does its work once.
template <class Model, class Server>
int run_task(const Options& options, const onnx::SessionOptions& session, const http::HostPort& address,
             const std::string& once, int (*do_once)(const Model&, const Options&)) {
  const auto began = std::chrono::steady_clock::now();
  const auto model = Model::load(options.model, session);
  if (!model.ok()) return fail(model.error());
  if (!once.empty()) return do_once(**model, options);
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  const std::string& name = (*model)->config().name;
  log::info("model_loaded model={} threads={} load_ms={}", name, session.threads, took.count());
  block_signals();
  Server server(**model, server_options(options));
  return serve(server, name, address);
}

Result<onnx::Task> find_task(const Options& options) {
  if (options.task.empty()) return onnx::detect_task(options.model);
  const auto task = onnx::task_named(options.task);
  if (task) return *task;
  return invalid_argument(
      fmt::format("--task {}: question-answering and image-classification are known", options.task));
}

int run(const Options& options) {
  const auto task = find_task(options);
  if (!task.ok()) return fail(task.error());
  onnx::SessionOptions session;
  if (options.threads > 0) {
    session.threads = options.threads;
  } else {
    const auto share = onnx::detect_cpu_share();
    if (!share.ok()) return fail(share.error());
    session.threads = share->threads;
    session.waiting = share->shared ? onnx::SessionOptions::Waiting::block : onnx::SessionOptions::Waiting::spin;
  }
  const auto address = http::parse_host_port(options.listen);
  if (!address.ok())
    return fail(invalid_argument(fmt::format("--listen {}: {}", options.listen, address.error().message)));
  if (*task == onnx::Task::image_classification) {
    return run_task<onnx::ImageClassification, onnx::ImageServer>(options, session, *address, options.classify,
                                                                  classify_once);
  }
  return run_task<onnx::QuestionAnswering, onnx::QuestionServer>(options, session, *address, options.ask, answer_once);
}

std::string default_listen() {
  const char* port = std::getenv("PORT");
  return fmt::format("127.0.0.1:{}", port == nullptr || *port == '\0' ? "8080" : port);
}

}  // namespace

int main(int argc, char** argv) {
  log::configure("thaw-onnx", "info");
  Options options;
  options.listen = default_listen();
  options.swagger_ui = swagger_ui_beside_program();

  CLI::App app{
      "Serves an ONNX model folder over HTTP: model.onnx, config.json, and tokenizer.json or vocab.txt for "
      "question answering, preprocessor_config.json for image classification."};
  app.add_option("--model", options.model, "The model folder")->capture_default_str();
  app.add_option("--listen", options.listen, "HOST:PORT; the port is $PORT by default")->capture_default_str();
  app.add_option(
      "--task", options.task,
      "What the model does: question-answering or image-classification; by default what its config.json says");
  app.add_option("--threads", options.threads,
                 "Threads of one run of the model; by default the CPU share ($THAW_CPU_MILLI, the cgroup, the machine)")
      ->check(CLI::Range(1, 256));
  app.add_option("--workers", options.workers, "Requests that run at the same time")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--queue", options.queue_max, "Requests that wait; more are refused with 429")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--swagger-ui", options.swagger_ui, "The folder of Swagger UI's files");
  auto* ask = app.add_option("--ask", options.ask, "Answers this question on standard output, and serves nothing");
  auto* context = app.add_option("--context", options.context, "The text that the question is about")->needs(ask);
  ask->needs(context);
  app.add_option("--classify", options.classify, "Says on standard output what this photo shows, and serves nothing")
      ->excludes(ask);
  app.add_option("--top-k", options.top_k, "With --ask or --classify: how many answers or labels");
  CLI11_PARSE(app, argc, argv);
  return run(options);
}
