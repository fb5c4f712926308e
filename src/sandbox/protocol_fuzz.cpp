// The spawner's decoder: the only bytes that the privileged half reads from the unprivileged one.
#include <cstdint>
#include <cstdlib>

#include "sandbox/protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t descriptors = data[0] & 7;
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data + 1), size - 1);
  const auto request = thaw::sandbox::protocol::decode_request(bytes, descriptors);
  if (request.ok() && request->type == thaw::sandbox::protocol::MessageType::start) {
    // What was accepted can be encoded again to the same bytes.
    thaw::sandbox::EnvironmentSpec spec;
    spec.id = request->id;
    spec.memory_bytes = request->start.memory_bytes;
    spec.tmp_bytes = request->start.tmp_bytes;
    spec.cpu_milli = request->start.cpu_milli;
    spec.runtime_api_port = request->start.runtime_api_port;
    spec.egress = request->start.egress;
    spec.calls_port = request->start.calls_port;
    spec.pids_max = request->start.pids_max;
    spec.sockets = request->start.sockets;
    spec.engine = request->start.engine;
    spec.argv = request->start.argv;
    spec.environment = request->start.environment;
    const auto again = thaw::sandbox::protocol::encode_start(request->serial, spec);
    if (!again.ok() || again->size() != bytes.size()) std::abort();
  }
  (void)thaw::sandbox::protocol::decode_reply(bytes, descriptors);
  return 0;
}
