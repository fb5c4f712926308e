// The control API's part for layers.
//
//   POST   /2018-10-31/layers/NAME/versions             PublishLayerVersion; GET lists
//   GET    /2018-10-31/layers/NAME/versions/VERSION     GetLayerVersion; DELETE
//   GET    /2018-10-31/layers?find=LayerVersion&Arn=    GetLayerVersionByArn
//   GET    /2018-10-31/layers?Marker=&MaxItems=         ListLayers
//   GET    /thaw/v1/layers/NAME/versions/VERSION        its zip, which GetLayerVersion's Location names
//
// NAME is a name or an ARN.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "control/catalog.h"
#include "control/layers.h"
#include "gateway/code_intake.h"
#include "gateway/control_request.h"
#include "http/server.h"

namespace thaw::gateway {

// Ownership: borrows all it is given. Threads: handle() on any loop; file I/O runs on the workers.
class LayersApi {
 public:
  // own_host, port: where the daemon listens, for addresses; the port is known only once the listener is open.
  LayersApi(control::Catalog& catalog, boost::asio::thread_pool& workers, CodeIntake& code, const std::string& own_host,
            const std::atomic<std::uint16_t>& port)
      : catalog_(catalog), workers_(workers), code_(code), own_host_(own_host), port_(port) {}

  static bool is_path(std::string_view path);
  // path: decoded from nothing yet, without the query.
  http::Task<Status> handle(http::Exchange& exchange, std::string_view path, const Query& query);

 private:
  http::Task<Status> publish(http::Exchange& exchange, const std::string& name);
  http::Task<Status> list(http::Exchange& exchange, const Query& query);
  http::Task<Status> list_versions(http::Exchange& exchange, const std::string& name, const Query& query);
  http::Task<Status> version(http::Exchange& exchange, const std::string& name, std::string_view number, bool own);
  http::Task<Status> find(http::Exchange& exchange, const std::string& arn);
  http::Task<Status> answer(http::Exchange& exchange, const model::LayerVersion& layer, int status);

  control::Catalog& catalog_;
  boost::asio::thread_pool& workers_;
  CodeIntake& code_;
  const std::string& own_host_;
  const std::atomic<std::uint16_t>& port_;
};

}  // namespace thaw::gateway
