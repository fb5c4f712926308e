// What serving costs on top of the model: a bare ONNX Runtime loop against HTTP servers that answer the same questions
// with the same model and as many threads. The ways take turns in one run, a few questions each, so that whatever else
// the machine does hits all alike.
//
//   thaw_bench_onnx --model DIR --texts FILE --threads 1 --server thaw-onnx=127.0.0.1:9001 --server
//   fastapi=127.0.0.1:9002
//
// Prints one line a way: median, p99 in microseconds, and the ratio of its median to the bare loop's.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <onnxruntime_cxx_api.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <fstream>

#include "base/unique_fd.h"
#include "onnx/json_field.h"
#include "onnx/question_answering.h"

namespace {

using namespace thaw;
using Clock = std::chrono::steady_clock;

[[noreturn]] void die(const std::string& message) {
  std::fprintf(stderr, "thaw_bench_onnx: %s\n", message.c_str());
  std::exit(1);
}

struct Text {
  std::string question;
  std::string context;
};

std::vector<Text> read_texts(const std::string& path) {
  std::ifstream in(path);
  std::vector<Text> texts;
  for (std::string line; std::getline(in, line);) {
    auto parsed = onnx::parse_json(line, path);
    if (!parsed.ok()) die(parsed.error().message);
    texts.push_back({std::string(parsed->at("question").as_string()), std::string(parsed->at("context").as_string())});
  }
  if (texts.empty()) die(path + ": no texts");
  return texts;
}

// The model alone: inputs are ready, outputs are not looked at.
class BareLoop {
 public:
  BareLoop(const std::string& folder, const std::vector<Text>& texts, int threads) {
    auto model = onnx::QuestionAnswering::load(folder, {});
    if (!model.ok()) die(model.error().message);
    for (const Text& text : texts) {
      auto answers = (*model)->answer(text.question, text.context, {});
      if (!answers.ok()) die(answers.error().message);
      expected_.push_back(answers->front().answer);
    }
    for (const auto& spec : (*model)->session().inputs()) input_names_.push_back(spec.name);
    for (const Text& text : texts) {
      auto prepared = (*model)->prepare(text.question, text.context, {});
      if (!prepared.ok() || prepared->rows.size() != 1) die("a text must be a single window: " + text.question);
      rows_.push_back(std::move(prepared->rows.front()));
      tokens_ += rows_.back().input_ids.size();
    }
    auto files = onnx::read_model_folder(folder);
    if (!files.ok()) die(files.error().message);
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(threads);
    options.SetGraphOptimizationLevel(ORT_ENABLE_ALL);
    options.AddConfigEntry("session.intra_op.allow_spinning", "0");
    session_ = Ort::Session(env_, files->model_path.c_str(), options);
  }

  void run(std::size_t text) {
    onnx::QuestionAnswering::Row& row = rows_[text];
    const std::array<std::int64_t, 2> shape{1, static_cast<std::int64_t>(row.input_ids.size())};
    std::vector<Ort::Value> values;
    std::vector<const char*> names;
    for (const std::string& name : input_names_) {
      auto& data = name == "input_ids"        ? row.input_ids
                   : name == "attention_mask" ? row.attention_mask
                                              : row.token_type_ids;
      values.push_back(Ort::Value::CreateTensor<std::int64_t>(memory_, data.data(), data.size(), shape.data(), 2));
      names.push_back(name.c_str());
    }
    constexpr std::array<const char*, 2> kOutputs{"start_logits", "end_logits"};
    (void)session_.Run(Ort::RunOptions{nullptr}, names.data(), values.data(), values.size(), kOutputs.data(), 2);
  }
  // What the first answer to each text must be.
  const std::vector<std::string>& expected() const { return expected_; }
  double tokens_mean() const { return static_cast<double>(tokens_) / static_cast<double>(rows_.size()); }

 private:
  Ort::Env env_{ORT_LOGGING_LEVEL_FATAL, "bench"};
  Ort::Session session_{nullptr};
  Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<std::string> input_names_;
  std::vector<onnx::QuestionAnswering::Row> rows_;
  std::vector<std::string> expected_;
  std::size_t tokens_ = 0;
};

// A blocking HTTP/1.1 client with one kept connection.
class Client {
 public:
  Client(std::string address, const std::vector<Text>& texts) : address_(std::move(address)) {
    const std::size_t colon = address_.rfind(':');
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::atoi(address_.c_str() + colon + 1)));
    if (inet_pton(AF_INET, address_.substr(0, colon).c_str(), &to.sin_addr) != 1) die("not an address: " + address_);
    fd_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
      die("cannot connect to " + address_);
    for (const Text& text : texts) {
      const std::string body =
          boost::json::serialize(boost::json::object{{"question", text.question}, {"context", text.context}});
      requests_.push_back(
          fmt::format("POST /question HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n"
                      "Content-Length: {}\r\n\r\n{}",
                      address_, body.size(), body));
    }
  }

  // The response's body.
  std::string_view run(std::size_t text) {
    const std::string& request = requests_[text];
    if (send(fd_.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) {
      die("cannot send to " + address_);
    }
    std::size_t filled = 0;
    for (;;) {
      const ssize_t count = recv(fd_.get(), buffer_.data() + filled, buffer_.size() - filled, 0);
      if (count <= 0) die(address_ + " closed the connection");
      filled += static_cast<std::size_t>(count);
      const std::string_view got(buffer_.data(), filled);
      const std::size_t head = got.find("\r\n\r\n");
      if (head == std::string_view::npos) continue;
      if (!got.starts_with("HTTP/1.1 200")) die(address_ + " answered " + std::string(got.substr(0, 200)));
      if (filled >= head + 4 + content_length(got.substr(0, head))) return got.substr(head + 4);
    }
  }

 private:
  static std::size_t content_length(std::string_view head) {
    std::string lower(head);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    const std::size_t at = lower.find("content-length: ");
    if (at == std::string::npos) die("a response without Content-Length");
    return static_cast<std::size_t>(std::atol(lower.c_str() + at + 16));
  }

  std::string address_;
  UniqueFd fd_;
  std::vector<std::string> requests_;
  std::array<char, 65536> buffer_{};
};

struct Way {
  std::string name;
  std::function<void(std::size_t)> run;
  std::vector<double> times_us;
};

double percentile(std::vector<double>& sorted, double share) {
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

}  // namespace

int main(int argc, char** argv) {
  std::string model;
  std::string texts_path;
  int threads = 1;
  std::size_t rounds = 60;
  std::vector<std::string> servers;
  CLI::App app{"Compares serving with a bare ONNX Runtime loop"};
  app.add_option("--model", model)->required();
  app.add_option("--texts", texts_path, "JSON lines with question and context")->required();
  app.add_option("--threads", threads);
  app.add_option("--rounds", rounds, "How often each way answers all texts");
  app.add_option("--server", servers, "NAME=ADDRESS:PORT");
  CLI11_PARSE(app, argc, argv);

  const std::vector<Text> texts = read_texts(texts_path);
  BareLoop bare(model, texts, threads);
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<Way> ways;
  ways.push_back({"bare", [&](std::size_t text) { bare.run(text); }, {}});
  for (const std::string& server : servers) {
    const std::size_t equals = server.find('=');
    clients.push_back(std::make_unique<Client>(server.substr(equals + 1), texts));
    ways.push_back(
        {server.substr(0, equals), [client = clients.back().get()](std::size_t text) { client->run(text); }, {}});
    for (std::size_t text = 0; text < texts.size(); ++text) {
      auto got = onnx::parse_json(clients.back()->run(text), server);
      if (!got.ok() || got->at("answer").as_string() != bare.expected()[text]) {
        die(fmt::format("{} does not answer '{}' with '{}'", server, texts[text].question, bare.expected()[text]));
      }
    }
  }
  constexpr std::size_t kWarmUpRounds = 3;
  for (std::size_t round = 0; round < rounds + kWarmUpRounds; ++round) {
    for (std::size_t turn = 0; turn < ways.size(); ++turn) {
      Way& way = ways[(round + turn) % ways.size()];
      for (std::size_t text = 0; text < texts.size(); ++text) {
        const auto began = Clock::now();
        way.run(text);
        const std::chrono::duration<double, std::micro> took = Clock::now() - began;
        if (round >= kWarmUpRounds) way.times_us.push_back(took.count());
      }
    }
  }
  fmt::print("{} texts of {:.0f} tokens on average, {} rounds, {} thread(s)\n", texts.size(), bare.tokens_mean(),
             rounds, threads);
  fmt::print("{:<12} {:>12} {:>12} {:>12} {:>10}\n", "", "min us", "median us", "p99 us", "ratio");
  double bare_median = 0;
  for (Way& way : ways) {
    std::sort(way.times_us.begin(), way.times_us.end());
    const double median = percentile(way.times_us, 0.5);
    if (bare_median == 0) bare_median = median;
    fmt::print("{:<12} {:>12.0f} {:>12.0f} {:>12.0f} {:>10.3f}\n", way.name, way.times_us.front(), median,
               percentile(way.times_us, 0.99), median / bare_median);
  }
  return 0;
}
