// The image-classification API over HTTP. The loop's thread reads; decoding and the model run on worker threads.
#pragma once

#include <functional>
#include <string>

#include "http/server.h"
#include "onnx/image_api.h"
#include "onnx/image_classification.h"
#include "onnx/pages.h"
#include "onnx/worker_pool.h"

namespace thaw::onnx {

// Ownership: model outlives the server, the server outlives the http::Server that calls handle().
// Threads: handle() on any loop.
class ImageServer : public TaskServer {
 public:
  ImageServer(const ImageClassification& model, TaskServerOptions options);

  http::Task<> handle(http::Exchange& exchange) override;

 private:
  http::Task<> handle_photo(http::Exchange& exchange, std::string_view query);
  // work: on a worker, to the response's body.
  http::Task<> respond_labels(http::Exchange& exchange, std::function<Result<std::string>()> work);

  const ImageClassification& model_;
  const Pages pages_;
  WorkerPool workers_;
};

}  // namespace thaw::onnx
