#include "serve.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <thread>

#include "base/log.h"
#include "base/sys.h"
#include "control/catalog.h"
#include "control/model_resolver.h"
#include "events/event_service.h"
#include "gateway/gateway.h"
#include "http/server.h"
#include "model/manifest.h"
#include "observe/function_log.h"
#include "pool/pool.h"
#include "sandbox/spawner_client.h"
#include "serve_events.h"
#include "serve_features.h"
#include "serve_keys.h"
#include "serve_models.h"
#include "serve_privileges.h"
#include "snapshot/snapshot_folder.h"

namespace thaw::cli {
namespace {

using namespace std::chrono_literals;

// What ending every environment may take at shutdown.
constexpr auto kEnvironmentsEndMax = 10s;
constexpr std::chrono::seconds kAnswersAfterLossMax{5};
constexpr rlim_t kDescriptorsWanted = 65536;

int fail(const Error& error) {
  std::fprintf(stderr, "thaw serve: %s\n", error.message.c_str());
  return 1;
}

sandbox::SpawnerOptions spawner_options(const ServeConfig& config) {
  sandbox::SpawnerOptions options;
  options.spawner_path = config.spawner;
  options.stub_path = (std::filesystem::path(config.spawner).parent_path() / "thaw-stub").string();
  options.engine_folder = config.engines;
  options.cgroup_name = sandbox::cgroup_name_for(config.data);
  options.log_level = config.log_level;
  return options;
}

// Connections, function pipes and cgroup files all cost descriptors.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min(limit.rlim_max, std::max(limit.rlim_cur, kDescriptorsWanted));
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

sigset_t stop_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  return signals;
}

// The unprivileged half, wired. Members are destroyed from the last to the first.
class Daemon {
 public:
  Daemon(const ServeConfig& config, std::string data_folder, sandbox::LaunchedSpawner spawner,
         std::unique_ptr<ModelStores> stores, UniqueFd runtimes, gateway::AccessKeys access_keys)
      : config_(config),
        runtimes_(std::move(runtimes)),
        data_folder_(std::move(data_folder)),
        stores_(std::move(stores)),
        access_keys_(std::move(access_keys)),
        loops_(config.threads),
        spawner_(std::move(spawner)) {}

  Status open(UniqueFd listener) {
    ASSIGN_OR_RETURN(catalog_, control::Catalog::open(data_folder_));
    observe::LogLimits log_limits;
    log_limits.file_bytes_max = config_.log_file_max_mb << 20;
    log_limits.total_bytes_max = config_.logs_max_mb << 20;
    ASSIGN_OR_RETURN(logs_, observe::FunctionLogs::open(data_folder_ + "/logs", log_limits));
    pool::PoolLimits pool_limits;
    pool_limits.memory_bytes_max = config_.memory_max_mb << 20;
    pool_limits.starts_at_once_max = std::max(4U, 2 * std::thread::hardware_concurrency());
    pool_limits.freeze_after = std::chrono::milliseconds(config_.freeze_after_ms);
    pool_.emplace(
        spawner_, *logs_, loops_, [this](const model::FunctionRecord& record) { return open_package(record); },
        pool_limits);
    spawner_.set_on_spawner_lost([this] {
      log::error("spawner_lost");
      spawner_lost_ = true;
      pool_->on_host_lost();
      ::kill(::getpid(), SIGTERM);
    });
    RETURN_IF_ERROR(open_models());
    pool::SnapshotLimits snapshot_limits;
    ASSIGN_OR_RETURN(snapshots_, snapshot::SnapshotFolder::open(data_folder_ + "/snapshots"));
    snapshot_limits.disk_bytes_max = config_.snapshots_max_mb << 20;
    snapshot_limits.memory_bytes_max = (config_.memory_max_mb << 20) / 4;
    snapshot_limits.memory_folder = data_folder_ + kImageMemoryFolder;
    snapshot_limits.runtime = std::string("thaw:") + THAW_VERSION;
    ASSIGN_OR_RETURN(const auto versions, published_versions());
    pool_->use_snapshots(*snapshots_, snapshot_limits).load(versions);
    pool_->use_catalog([this](const model::FunctionRecord& record) {
      const auto found = catalog_->find({record.config.name, record.version}, 1);
      // A request that was on its way while its function was deployed anew is served by the revision that it found.
      return found != nullptr && (record.version == model::kLatestVersion || found->revision_id == record.revision_id);
    });
    gate_.emplace(*catalog_, config_.concurrent_executions_max);
    ASSIGN_OR_RETURN(auto queue, open_event_queue(config_, data_folder_));
    events_.emplace(std::move(queue), *catalog_, *gate_, *pool_, loops_,
                    dispatcher_options(config_, models_->stores()));
    RETURN_IF_ERROR(events_->open_schedules(data_folder_ + "/schedules.json", *catalog_));
    gateway::GatewayOptions options;
    options.version = THAW_VERSION;
    options.listen_host =
        config_.listen_host.find(':') == std::string::npos ? config_.listen_host : "[" + config_.listen_host + "]";
    options.data_folder = config_.data;
    options.body_bytes_max = config_.body_max_mb << 20;
    options.upload_bytes_max = config_.upload_max_mb << 20;
    options.memory_bytes_max = pool_limits.memory_bytes_max;
    options.access_keys = std::move(access_keys_);
    options.started_at = std::chrono::steady_clock::now();
    gateway_.emplace(*catalog_, *gate_, *pool_, *logs_, options);
    gateway_->use_models(models_->api());
    gateway_->use_buckets([this](const std::string& bucket, const std::string& version) {
      return models_->open_bucket(bucket, version);
    });
    gateway_->use_events(*events_);
    ASSIGN_OR_RETURN(features_, ServeFeatures::open(config_, data_folder_));
    gateway_->use_features(features_->api());
    http::ServerLimits limits;
    limits.header_bytes_max = std::size_t{config_.header_max_kb} << 10;
    pool_->use_calls(
        {.handler = [this](http::Exchange& exchange,
                           pool::Caller caller) { return gateway_->handle_call(exchange, std::move(caller)); },
         .limits = limits});
    limits.connections_max = config_.connections_max;
    server_.emplace(loops_, limits, [this](http::Exchange& exchange) { return gateway_->handle(exchange); });
    loops_.start();
    RETURN_IF_ERROR(server_->listen_unix(data_folder_ + "/control.sock", 0660));
    ASSIGN_OR_RETURN(port_, server_->listen_on(std::move(listener)));
    gateway_->set_port(port_);
    events_->start();
    gateway_->start_provisioned();
    return {};
  }

  Result<std::vector<std::shared_ptr<const model::FunctionRecord>>> published_versions() const {
    constexpr std::size_t kPage = 500;
    std::vector<std::shared_ptr<const model::FunctionRecord>> versions;
    for (std::string marker;;) {
      ASSIGN_OR_RETURN(const control::Page page, catalog_->list(marker, kPage));
      for (const model::FunctionRecord& function : page.functions) {
        for (auto& version : catalog_->versions(function.config.name)) versions.push_back(std::move(version));
      }
      if (page.next_marker.empty()) break;
      marker = page.next_marker;
    }
    return versions;
  }

  Status open_models() {
    model_budget_.use(*pool_);
    ASSIGN_OR_RETURN(models_, ServeModels::open(config_, std::move(stores_),
                                                {.data_folder = data_folder_,
                                                 .memory_folder = data_folder_ + kMemoryFolder,
                                                 .catalog = *catalog_,
                                                 .budget = model_budget_}));
    resolver_.emplace(models_->memory(), config_.memory_max_mb << 20);
    catalog_->use_models(
        [this](const control::Catalog::ModelQuestion& question) { return resolver_->resolve(question); });
    pool_->use_models(models_->memory());
    return {};
  }

  // What starts the external extensions that layers bring is among the managed runtimes.
  Status add_extensions(pool::Package& package) {
    const auto extensions = sys::openat(package.layers, "extensions", O_PATH | O_DIRECTORY);
    if (!extensions.ok() || package.runtime.valid()) return {};
    if (!runtimes_.valid()) {
      return Error{ErrorKind::unsupported,
                   "the function has extensions, and the folder with what starts them was not found beside thaw: give "
                   "its path with --runtimes"};
    }
    ASSIGN_OR_RETURN(package.runtime, sys::duplicate(runtimes_));
    return {};
  }

  Result<pool::Package> open_package(const model::FunctionRecord& record) {
    ASSIGN_OR_RETURN(control::Catalog::PackageHold held, catalog_->hold_package(record.code_sha256));
    pool::Package package;
    package.folder = std::move(held.folder);
    package.hold = std::move(held.hold);
    if (!record.config.layers.sha256.empty()) {
      ASSIGN_OR_RETURN(control::Catalog::PackageHold layers, catalog_->hold_package(record.config.layers.sha256));
      package.layers = std::move(layers.folder);
      package.layers_hold = std::move(layers.hold);
    }
    if (model::is_managed_runtime(record.config.runtime)) {
      if (!runtimes_.valid()) {
        return Error{ErrorKind::unsupported,
                     "the folder of the managed runtimes was not found beside thaw: give its path with --runtimes"};
      }
      ASSIGN_OR_RETURN(package.runtime, sys::duplicate(runtimes_));
    }
    if (package.layers.valid()) RETURN_IF_ERROR(add_extensions(package));
    if (record.config.model.empty()) return package;
    auto model = resolver_->hold(record);
    if (!model.ok()) {
      log::error("model_unavailable function={} model={} error=\"{}\"", record.config.name, record.config.model,
                 model.error().message);
      const bool changed = model.error().kind == ErrorKind::conflict;
      return Error{ErrorKind::unavailable,
                   "the function's model cannot be had: " + model.error().message +
                       (changed ? "; deploy the function again to take the new ones" : ""),
                   pool::kModelUnavailable};
    }
    package.model = std::move(model->folder);
    package.model_hold = std::move(model->hold);
    return package;
  }

  std::uint16_t port() const { return port_; }
  std::size_t functions() const { return catalog_->count(); }

  // Lets invocations finish, for at most drain_s or until a second signal; then ends everything.
  int close() {
    const sigset_t signals = stop_signals();
    server_->stop_accepting();
    events_->stop_taking();
    const auto began = std::chrono::steady_clock::now();
    // Without the spawner there is no function either: every request has its answer, which only must be sent.
    const auto wait_max = [&] {
      const std::chrono::seconds drain(config_.drain_s);
      return spawner_lost_ ? std::min(drain, kAnswersAfterLossMax) : drain;
    };
    const auto busy = [&] { return server_->connections() > 0 || (events_->running() > 0 && !spawner_lost_); };
    while (busy() && std::chrono::steady_clock::now() < began + wait_max()) {
      const timespec pause{0, 10'000'000};
      if (::sigtimedwait(&signals, nullptr, &pause) > 0) break;
    }
    const std::size_t cut = server_->connections();
    server_->cut_off();
    // With the spawner went the word of their ends.
    const bool ended = pool_->stop(spawner_lost_ ? std::chrono::milliseconds(0) : kEnvironmentsEndMax);
    const Status cleared = spawner_.shut_down(kEnvironmentsEndMax);
    models_->api().stop();
    model_budget_.leave();
    logs_->flush();
    loops_.stop();
    events_->stop();
    log::info("stopped connections_cut={} environments_ended={}", cut, ended);
    return spawner_lost_ || !cleared.ok() ? 1 : 0;
  }

 private:
  const ServeConfig& config_;
  const UniqueFd runtimes_;
  const std::string data_folder_;
  std::atomic<bool> spawner_lost_{false};
  std::uint16_t port_ = 0;
  std::unique_ptr<control::Catalog> catalog_;
  std::optional<control::ConcurrencyGate> gate_;
  std::optional<control::ModelResolver> resolver_;
  std::unique_ptr<observe::FunctionLogs> logs_;
  std::unique_ptr<snapshot::SnapshotFolder> snapshots_;
  std::unique_ptr<ModelStores> stores_;  // until models_ has them
  gateway::AccessKeys access_keys_;      // until gateway_ has them
  ModelBudget model_budget_;
  std::unique_ptr<ServeModels> models_;
  http::Loops loops_;
  sandbox::SpawnerClient spawner_;
  std::optional<pool::Pool> pool_;
  std::optional<events::EventService> events_;
  std::unique_ptr<ServeFeatures> features_;
  std::optional<gateway::Gateway> gateway_;
  std::optional<http::Server> server_;
};

Result<sandbox::LaunchedSpawner> start_privileged_half(const ServeConfig& config) {
  if (config.spawner.empty()) {
    return Error{ErrorKind::unsupported, "thaw-spawner was not found beside thaw: give its path with --spawner"};
  }
  return sandbox::launch_spawner(spawner_options(config));
}

}  // namespace

int run_serve(const ServeConfig& config) {
  log::configure("thaw", config.log_level.c_str());
  if (::geteuid() != 0) {
    return fail({ErrorKind::forbidden,
                 "must be started as root: it needs namespaces and cgroups to make sandboxes. Try: sudo thaw serve\n"
                 "(The half that serves requests gives root up at once; see `thaw serve --help`, --user.)"});
  }
  ::signal(SIGPIPE, SIG_IGN);
  model::set_place(config.place);
  auto stores = load_model_stores(config);
  if (!stores.ok()) return fail(stores.error());
  auto access_keys = load_access_keys(config.aws_credentials);
  if (!access_keys.ok()) return fail(access_keys.error());
  const std::size_t key_count = access_keys->size();
  const auto lock = lock_data(config);
  if (!lock.ok()) return fail(lock.error());
  auto listener = http::bind_tcp(config.listen_host, config.listen_port);
  if (!listener.ok()) return fail(listener.error());
  const auto data = enter_data(config);
  if (!data.ok()) return fail(data.error());
  UniqueFd runtimes;
  if (!config.runtimes.empty()) {
    auto opened = sys::open(config.runtimes, O_PATH | O_DIRECTORY);
    if (!opened.ok()) return fail(opened.error());
    runtimes = std::move(*opened);
  }
  raise_descriptor_limit();
  auto spawner = start_privileged_half(config);
  if (!spawner.ok()) return fail(spawner.error());
  // From here on there are threads to come: none of them takes the signals that the main one waits for.
  const sigset_t signals = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  if (const Status dropped = drop_privileges(config); !dropped.ok()) return fail(dropped.error());

  Daemon daemon(config, *data, std::move(*spawner), std::move(*stores), std::move(runtimes), std::move(*access_keys));
  if (const Status opened = daemon.open(std::move(*listener)); !opened.ok()) {
    const int failed = fail(opened.error());
    // Environments cannot exist yet, and half-open members have nothing to lose.
    ::_exit(failed);
  }
  std::fprintf(stderr, "thaw %s serves %zu function%s on http://%s:%u (data in %s)\n", THAW_VERSION, daemon.functions(),
               daemon.functions() == 1 ? "" : "s", config.listen_host.c_str(), daemon.port(), config.data.c_str());
  if (key_count == 0) {
    std::fprintf(stderr, "the API takes unsigned calls from this machine alone (aws_credentials names access keys)\n");
  } else {
    std::fprintf(stderr, "the API takes calls over TCP that are signed with one of %zu access key%s\n", key_count,
                 key_count == 1 ? "" : "s");
  }
  int signal = 0;
  ::sigwait(&signals, &signal);
  log::info("stopping signal={}", signal);
  return daemon.close();
}

}  // namespace thaw::cli
