#include "sandbox/protocol.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace thaw::sandbox::protocol {
namespace {

Error wrong(std::string_view what) { return invalid_argument("spawner request: " + std::string(what)); }

template <class T>
bool take(std::span<const std::byte>& bytes, T& into) {
  if (bytes.size() < sizeof(T)) return false;
  std::memcpy(&into, bytes.data(), sizeof(T));
  bytes = bytes.subspan(sizeof(T));
  return true;
}

template <class T>
void append(std::string& to, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  to.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

Header header_of(MessageType type, std::uint64_t serial, std::uint64_t id) {
  return {.type = static_cast<std::uint16_t>(type), .serial = serial, .id = id};
}

template <class Body>
std::string encode(MessageType type, std::uint64_t serial, std::uint64_t id, const Body& body) {
  std::string bytes;
  append(bytes, header_of(type, serial, id));
  append(bytes, body);
  return bytes;
}

Status check_start(const StartBody& body) {
  if (body.memory_bytes < kMemoryBytesMin || body.memory_bytes > kMemoryBytesMax) return wrong("memory_bytes");
  if (body.tmp_bytes < kTmpBytesMin || body.tmp_bytes > kTmpBytesMax) return wrong("tmp_bytes");
  if (body.cpu_milli == 0 || body.cpu_milli > kCpuMilliMax) return wrong("cpu_milli");
  if (body.pids_max < kPidsMin || body.pids_max > kPidsMax) return wrong("pids_max");
  if (body.sockets > kSocketsPerRequestMax) return wrong("sockets");
  if (body.engine > static_cast<std::uint32_t>(Engine::installed)) return wrong("engine");
  if (body.argument_count == 0 || body.argument_count > kStringsMax) return wrong("argument_count");
  if (body.variable_count > kStringsMax) return wrong("variable_count");
  if (body.strings_bytes > kArgumentsBytesMax) return wrong("strings_bytes");
  if (body.restore > 1) return wrong("restore");
  if (body.model > 1) return wrong("model");
  if (body.runtime > 1) return wrong("runtime");
  if (body.layers > 1) return wrong("layers");
  const bool engine = body.engine != static_cast<std::uint32_t>(Engine::none);
  if (body.layers == 1 && (body.model == 1 || engine))
    return wrong("layers beside an engine or a model: both need /opt");
  if (body.egress > 1) return wrong("egress");
  if (body.egress == 1 && body.restore == 1) return wrong("egress of a restored function");
  if (body.calls_port != 0 && body.calls_port == body.runtime_api_port) return wrong("calls_port");
  for (const std::uint16_t reserved : body.reserved) {
    if (reserved != 0) return wrong("reserved");
  }
  return {};
}

// Cuts one NUL-terminated string off the tail.
bool take_string(std::string_view& tail, std::string& into) {
  const std::size_t end = tail.find('\0');
  if (end == std::string_view::npos) return false;
  into.assign(tail.substr(0, end));
  tail.remove_prefix(end + 1);
  return true;
}

bool is_variable(std::string_view text) {
  const std::size_t equals = text.find('=');
  return equals != std::string_view::npos && equals != 0;
}

Result<StartRequest> decode_start(std::span<const std::byte> bytes) {
  StartBody body;
  if (!take(bytes, body)) return wrong("too short for a start");
  RETURN_IF_ERROR(check_start(body));
  if (bytes.size() != body.strings_bytes) return wrong("strings_bytes is not the size of the tail");

  StartRequest request{.memory_bytes = body.memory_bytes,
                       .tmp_bytes = body.tmp_bytes,
                       .cpu_milli = body.cpu_milli,
                       .pids_max = body.pids_max,
                       .sockets = body.sockets,
                       .engine = static_cast<Engine>(body.engine),
                       .restore = body.restore == 1,
                       .model = body.model == 1,
                       .runtime = body.runtime == 1,
                       .layers = body.layers == 1,
                       .runtime_api_port = body.runtime_api_port,
                       .egress = body.egress == 1,
                       .calls_port = body.calls_port};
  std::string_view tail(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto strings = static_cast<std::size_t>(std::count(tail.begin(), tail.end(), '\0'));
  if (strings != std::size_t{body.argument_count} + body.variable_count) return wrong("number of strings");
  request.argv.resize(body.argument_count);
  request.environment.resize(body.variable_count);
  for (std::string& argument : request.argv) {
    if (!take_string(tail, argument)) return wrong("argument");
  }
  for (std::string& variable : request.environment) {
    if (!take_string(tail, variable) || !is_variable(variable)) return wrong("variable");
  }
  if (!tail.empty()) return wrong("bytes after the last string");
  if (request.argv.front().empty()) return wrong("empty command");
  return request;
}

Result<FreezeSpec> decode_freeze(std::span<const std::byte> bytes) {
  FreezeBody body;
  if (!take(bytes, body)) return wrong("size of freeze");
  if (body.strict_connections > 1) return wrong("strict_connections");
  if (body.runtime_api_port > UINT16_MAX) return wrong("runtime_api_port");
  if (body.pending > kPendingCallsMax) return wrong("pending");
  if (body.calls_port > UINT16_MAX) return wrong("calls_port");
  FreezeSpec spec;
  spec.strict_connections = body.strict_connections == 1;
  spec.runtime_api_port = static_cast<std::uint16_t>(body.runtime_api_port);
  spec.calls_port = static_cast<std::uint16_t>(body.calls_port);
  for (std::uint32_t i = 0; i < body.pending; ++i) {
    PendingHead head;
    if (!take(bytes, head) || head.bytes > kPendingCallBytesMax || head.bytes > bytes.size())
      return wrong("a pending call");
    spec.pending.push_back({head.port, std::string(reinterpret_cast<const char*>(bytes.data()), head.bytes)});
    bytes = bytes.subspan(head.bytes);
  }
  if (!bytes.empty()) return wrong("size of freeze");
  return spec;
}

Status check_outcome(const Outcome& outcome) {
  const bool code_ends = std::memchr(outcome.code, 0, sizeof(outcome.code)) != nullptr;
  const bool message_ends = std::memchr(outcome.message, 0, sizeof(outcome.message)) != nullptr;
  if (!code_ends || !message_ends || outcome.status > 1 + static_cast<std::uint32_t>(ErrorKind::internal)) {
    return Error{ErrorKind::corrupt, "spawner reply: outcome"};
  }
  return {};
}

void copy_text(std::string_view text, std::span<char> into) {
  const std::size_t size = std::min(text.size(), into.size() - 1);
  std::memcpy(into.data(), text.data(), size);
  into[size] = '\0';
}

}  // namespace

Result<Request> decode_request(std::span<const std::byte> bytes, std::size_t descriptor_count) {
  if (bytes.size() > kRequestBytesMax) return wrong("too long");
  Header header;
  if (!take(bytes, header)) return wrong("too short for a header");
  if (header.magic != kMagic) return wrong("magic");
  if (header.version != kVersion) return wrong("version");

  Request request{.type = static_cast<MessageType>(header.type), .serial = header.serial, .id = header.id};
  switch (request.type) {
    case MessageType::start: {
      ASSIGN_OR_RETURN(request.start, decode_start(bytes));
      if (descriptor_count != request.start.descriptors()) return wrong("number of descriptors");
      return request;
    }
    case MessageType::make_sockets: {
      CountBody body;
      if (!take(bytes, body) || !bytes.empty()) return wrong("size of make_sockets");
      if (descriptor_count != 0) return wrong("number of descriptors");
      if (body.count == 0 || body.count > kSocketsPerRequestMax) return wrong("count");
      if (body.reserved != 0) return wrong("reserved");
      request.count = body.count;
      return request;
    }
    case MessageType::freeze: {
      if (descriptor_count != 1) return wrong("number of descriptors");
      ASSIGN_OR_RETURN(request.freeze, decode_freeze(bytes));
      request.freeze.id = request.id;
      return request;
    }
    case MessageType::terminate:
    case MessageType::destroy: {
      if (!bytes.empty()) return wrong("size of destroy or terminate");
      if (descriptor_count != 0) return wrong("number of descriptors");
      return request;
    }
    default:
      return wrong("type");
  }
}

Result<std::string> encode_start(std::uint64_t serial, const EnvironmentSpec& spec) {
  std::size_t strings_bytes = 0;
  for (const auto* list : {&spec.argv, &spec.environment}) {
    for (const std::string& text : *list) {
      if (text.find('\0') != std::string::npos) return wrong("NUL inside an argument or a variable");
      strings_bytes += text.size() + 1;
      if (strings_bytes > kArgumentsBytesMax) return wrong("arguments and variables are too long");
    }
  }
  if (spec.image.valid() != spec.working_set.valid()) return wrong("an image without a working set");
  if (spec.argv.empty() || spec.argv.front().empty()) return wrong("empty command");
  if (!std::all_of(spec.environment.begin(), spec.environment.end(), is_variable)) return wrong("variable");
  if (spec.argv.size() > kStringsMax || spec.environment.size() > kStringsMax) return wrong("too many strings");

  const StartBody body{.memory_bytes = spec.memory_bytes,
                       .tmp_bytes = spec.tmp_bytes,
                       .cpu_milli = spec.cpu_milli,
                       .pids_max = spec.pids_max,
                       .sockets = spec.sockets,
                       .engine = static_cast<std::uint32_t>(spec.engine),
                       .argument_count = static_cast<std::uint32_t>(spec.argv.size()),
                       .variable_count = static_cast<std::uint32_t>(spec.environment.size()),
                       .strings_bytes = static_cast<std::uint32_t>(strings_bytes),
                       .restore = spec.image.valid() ? 1U : 0U,
                       .model = spec.model.valid() ? 1U : 0U,
                       .runtime = spec.runtime.valid() ? 1U : 0U,
                       .layers = spec.layers.valid() ? 1U : 0U,
                       .runtime_api_port = spec.runtime_api_port,
                       .egress = static_cast<std::uint16_t>(spec.egress ? 1 : 0),
                       .calls_port = spec.calls_port};
  RETURN_IF_ERROR(check_start(body));
  std::string bytes = encode(MessageType::start, serial, spec.id, body);
  bytes.reserve(bytes.size() + strings_bytes);
  for (const auto* list : {&spec.argv, &spec.environment}) {
    for (const std::string& text : *list) bytes.append(text.c_str(), text.size() + 1);
  }
  return bytes;
}

std::string encode_make_sockets(std::uint64_t serial, std::uint64_t id, std::uint32_t count) {
  return encode(MessageType::make_sockets, serial, id, CountBody{.count = count});
}

Result<std::string> encode_freeze(std::uint64_t serial, const FreezeSpec& spec) {
  if (spec.pending.size() > kPendingCallsMax) return Error{ErrorKind::too_large, "too many calls wait at the freeze"};
  std::string bytes = encode(MessageType::freeze, serial, spec.id,
                             FreezeBody{.strict_connections = spec.strict_connections ? 1U : 0U,
                                        .runtime_api_port = spec.runtime_api_port,
                                        .pending = static_cast<std::uint32_t>(spec.pending.size()),
                                        .calls_port = spec.calls_port});
  for (const PendingCall& call : spec.pending) {
    if (call.request.size() > kPendingCallBytesMax) {
      return Error{ErrorKind::too_large, "a call to the Runtime API that waits at the freeze has " +
                                             std::to_string(call.request.size()) + " bytes; at most " +
                                             std::to_string(kPendingCallBytesMax) + " are possible"};
    }
    append(bytes, PendingHead{.port = call.port, .bytes = static_cast<std::uint16_t>(call.request.size())});
    bytes += call.request;
  }
  return bytes;
}

std::string encode_destroy(std::uint64_t id) {
  std::string bytes;
  append(bytes, header_of(MessageType::destroy, 0, id));
  return bytes;
}

std::string encode_terminate(std::uint64_t id) {
  std::string bytes;
  append(bytes, header_of(MessageType::terminate, 0, id));
  return bytes;
}

Result<Reply> decode_reply(std::span<const std::byte> bytes, std::size_t descriptor_count) {
  const Error corrupt{ErrorKind::corrupt, "spawner reply has a wrong form"};
  Header header;
  if (!take(bytes, header) || header.magic != kMagic || header.version != kVersion) return corrupt;
  Reply reply{.type = static_cast<MessageType>(header.type), .serial = header.serial, .id = header.id};
  std::size_t expected = 0;
  switch (reply.type) {
    case MessageType::ready:
      if (!take(bytes, reply.started.outcome)) return corrupt;
      break;
    case MessageType::started:
      if (!take(bytes, reply.started) || (reply.started.controls & ~kControlsAll) != 0) return corrupt;
      if (reply.started.sockets > kSocketsPerRequestMax || reply.started.listener > 1 ||
          reply.started.calls_listener > 1)
        return corrupt;
      expected = std::size_t{reply.started.sockets} + reply.started.listener + reply.started.calls_listener +
                 static_cast<std::size_t>(std::popcount(reply.started.controls));
      break;
    case MessageType::sockets_made: {
      SocketsBody body;
      if (!take(bytes, body) || body.sockets > kSocketsPerRequestMax) return corrupt;
      reply.started.outcome = body.outcome;
      reply.started.sockets = body.sockets;
      expected = body.sockets;
      break;
    }
    case MessageType::frozen:
      if (!take(bytes, reply.frozen)) return corrupt;
      reply.started.outcome = reply.frozen.outcome;
      break;
    case MessageType::exited:
      if (!take(bytes, reply.exited)) return corrupt;
      if (reply.exited.reason > static_cast<std::uint32_t>(ExitReason::destroyed)) return corrupt;
      break;
    default:
      return corrupt;
  }
  if (!bytes.empty() || descriptor_count != expected) return corrupt;
  RETURN_IF_ERROR(check_outcome(reply.started.outcome));
  return reply;
}

std::string encode_ready(const Outcome& outcome) { return encode(MessageType::ready, 0, 0, ReadyBody{outcome}); }

std::string encode_started(std::uint64_t serial, std::uint64_t id, const StartedBody& body) {
  return encode(MessageType::started, serial, id, body);
}

std::string encode_sockets_made(std::uint64_t serial, std::uint64_t id, const SocketsBody& body) {
  return encode(MessageType::sockets_made, serial, id, body);
}

std::string encode_frozen(std::uint64_t serial, std::uint64_t id, const FrozenBody& body) {
  return encode(MessageType::frozen, serial, id, body);
}

std::string encode_exited(std::uint64_t id, const ExitedBody& body) { return encode(MessageType::exited, 0, id, body); }

Outcome outcome_of(const Error& error) {
  Outcome outcome{.status = 1 + static_cast<std::uint32_t>(error.kind)};
  copy_text(error.code, outcome.code);
  copy_text(error.message, outcome.message);
  return outcome;
}

Error error_of(const Outcome& outcome) {
  return {static_cast<ErrorKind>(outcome.status - 1), outcome.message, outcome.code};
}

}  // namespace thaw::sandbox::protocol
