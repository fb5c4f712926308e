// What a function's process is started with: its argv, its environment variables, its bounds.
#pragma once

#include <string>
#include <vector>

#include "model/function.h"
#include "sandbox/sandbox.h"

namespace thaw::pool {

// Why a function is initialised, as Lambda tells it in AWS_LAMBDA_INITIALIZATION_TYPE ("Using Lambda environment
// variables", AWS Lambda Developer Guide): for a request, for a snapshot, or to be there when a request comes.
inline constexpr char kInitializationOnDemand[] = "on-demand";
inline constexpr char kInitializationSnapStart[] = "snap-start";
inline constexpr char kInitializationProvisioned[] = "provisioned-concurrency";

// Everything of the spec that follows from the record; id, sockets and descriptors are the caller's.
sandbox::EnvironmentSpec start_spec(const model::FunctionRecord& record, const char* initialization_type);

// What runs an event function's runtime ("python3.12", "provided.al2023").
std::vector<std::string> runtime_command(const std::string& runtime);

}  // namespace thaw::pool
