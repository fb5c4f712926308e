// A batch as the command line describes it, made ready and run.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "batch_output.h"
#include "batch_run.h"
#include "commands.h"

namespace thaw::cli {

// All that can be wrong with the options is, before anything is sent.
struct BatchJob {
  BatchTarget target;
  std::shared_ptr<BatchSource> source;
  OpenedOutput opened;
};

// The inputs are opened before the output, which is touched last.
Result<BatchJob> prepare_batch(Session& session, const BatchOptions& options);

// Shows on a terminal how far it is. tick: called ten times a second and at each outcome; what it gives is printed
// above that line. An InterruptGuard lives.
BatchEnd run_job(Session& session, const BatchOptions& options, const BatchJob& job,
                 const std::function<std::string()>& tick);

// "12 inputs in 3 s: 10 ok, 2 failed".
std::string summary_of(const BatchEnd& end);
boost::json::object summary_json(const BatchEnd& end);
// "done", "interrupted" or "stopped".
const char* word_of(const BatchEnd& end);

// Runs it at the times of options.schedule until it is interrupted; the process's exit status.
int run_scheduled_batch(Session& session, const BatchOptions& options);

}  // namespace thaw::cli
