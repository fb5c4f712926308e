// The control API's part for models in memory, and for the objects of the daemon's own folder.
//
//   GET    /thaw/v1/models?uri=URI      what is in memory, on its way, or failed; of one address also its last pull
//   POST   /thaw/v1/models              {"Uri": …, "Sha256": …}: begins to fetch, answers 202; PUT is the same
//   DELETE /thaw/v1/models?uri=URI      by address or id (id=ID)
//   GET    /thaw/v1/objects?prefix=     the objects that file:NAME means
//   PUT    /thaw/v1/objects/NAME        stores the body as one
//   DELETE /thaw/v1/objects/NAME
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/control_request.h"
#include "http/server.h"
#include "ports/object_store.h"
#include "store/model_memory.h"

namespace thaw::gateway {

struct ModelsApiOptions {
  std::string objects_folder;  // of the objects' store
  std::uint64_t upload_bytes_max = 4ULL << 30;
  std::string data_folder;  // as people call it
};

// Ownership: borrows memory and objects. Threads: handle() on any loop; fetches run on threads of its own.
class ModelsApi {
 public:
  ModelsApi(store::ModelMemory& memory, ports::ObjectStore& objects, ModelsApiOptions options);
  // Waits for the fetches under way; whoever wants them to end early destroys nothing but calls stop().
  ~ModelsApi();

  static bool is_path(std::string_view path);
  // path: decoded from nothing yet, without the query.
  http::Task<Status> handle(http::Exchange& exchange, std::string_view path, const Query& query);
  // Stops what is being pulled.
  void stop();

 private:
  // The last pull of an address that was asked for here.
  struct Pull {
    std::string uri;
    bool done = false;
    std::string id;  // of the model, once it is there
    std::optional<Error> error;
  };

  http::Task<Status> list(http::Exchange& exchange, const Query& query);
  http::Task<Status> pull(http::Exchange& exchange);
  http::Task<Status> remove(http::Exchange& exchange, const Query& query);
  http::Task<Status> list_objects(http::Exchange& exchange, const Query& query);
  http::Task<Status> put_object(http::Exchange& exchange, const std::string& name);
  http::Task<Status> remove_object(http::Exchange& exchange, const std::string& name);
  Status begin(const store::ModelSource& source);
  void finish(const std::string& uri, const Result<store::ModelHold>& held);
  std::optional<Pull> find_pull(const std::string& uri);

  store::ModelMemory& memory_;
  ports::ObjectStore& objects_;
  const ModelsApiOptions options_;
  std::mutex mutex_;
  std::list<Pull> pulls_;  // guarded by mutex_; oldest first
  bool stopping_ = false;  // guarded by mutex_
  boost::asio::thread_pool workers_{2};
  boost::asio::thread_pool fetchers_{4};
};

}  // namespace thaw::gateway
