#include "sandbox/protocol.h"

#include <gtest/gtest.h>

#include <cstring>

namespace thaw::sandbox::protocol {
namespace {

EnvironmentSpec valid_spec() {
  EnvironmentSpec spec;
  spec.id = 7;
  spec.memory_bytes = 128 << 20;
  spec.tmp_bytes = 1 << 20;
  spec.cpu_milli = 72;
  spec.pids_max = 64;
  spec.argv = {"python3", "", "-c"};
  spec.environment = {"A=1", "EMPTY="};
  return spec;
}

Result<Request> decode(std::string_view bytes, std::size_t descriptors) {
  return decode_request({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}, descriptors);
}

// A valid start with one field of its body replaced.
template <class T>
std::string with_field(std::size_t offset, T value) {
  std::string bytes = *encode_start(3, valid_spec());
  std::memcpy(bytes.data() + sizeof(Header) + offset, &value, sizeof(value));
  return bytes;
}

TEST(Protocol, StartComesBackAsItWasSent) {
  const auto request = decode(*encode_start(3, valid_spec()), 2);
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->type, MessageType::start);
  EXPECT_EQ(request->serial, 3u);
  EXPECT_EQ(request->id, 7u);
  EXPECT_EQ(request->start.memory_bytes, 128u << 20);
  EXPECT_EQ(request->start.tmp_bytes, 1u << 20);
  EXPECT_EQ(request->start.cpu_milli, 72u);
  EXPECT_EQ(request->start.argv, valid_spec().argv);
  EXPECT_EQ(request->start.environment, valid_spec().environment);
}

TEST(Protocol, AFreezeCarriesTheCallsThatWait) {
  FreezeSpec spec;
  spec.id = 7;
  spec.strict_connections = true;
  spec.runtime_api_port = 9001;
  spec.calls_port = 9002;
  spec.pending = {{40001, "GET /a HTTP/1.1\r\n\r\n"}, {40002, ""}};
  const std::string bytes = *encode_freeze(3, spec);
  const auto request = decode(bytes, 1);
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->freeze.id, 7u);
  EXPECT_TRUE(request->freeze.strict_connections);
  EXPECT_EQ(request->freeze.runtime_api_port, 9001);
  EXPECT_EQ(request->freeze.calls_port, 9002);
  ASSERT_EQ(request->freeze.pending.size(), 2u);
  EXPECT_EQ(request->freeze.pending[0].port, 40001);
  EXPECT_EQ(request->freeze.pending[0].request, spec.pending[0].request);
  EXPECT_EQ(request->freeze.pending[1].request, "");
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode(std::string_view(bytes).substr(0, size), 1).ok()) << size;
  EXPECT_FALSE(decode(bytes + '\0', 1).ok());
  EXPECT_FALSE(decode(bytes, 2).ok());

  spec.pending[0].request.assign(kPendingCallBytesMax + 1, 'x');
  EXPECT_EQ(encode_freeze(3, spec).error().kind, ErrorKind::too_large);
  spec.pending.assign(kPendingCallsMax + 1, {1, ""});
  EXPECT_EQ(encode_freeze(3, spec).error().kind, ErrorKind::too_large);
}

TEST(Protocol, EveryTruncationIsRefused) {
  const std::string bytes = *encode_start(3, valid_spec());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode(std::string_view(bytes).substr(0, size), 2).ok()) << size;
  }
  EXPECT_FALSE(decode(bytes + '\0', 2).ok());
}

TEST(Protocol, FieldsOutOfBoundsAreRefused) {
  EXPECT_TRUE(decode(with_field<std::uint64_t>(offsetof(StartBody, memory_bytes), kMemoryBytesMin), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint64_t>(offsetof(StartBody, memory_bytes), kMemoryBytesMin - 1), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint64_t>(offsetof(StartBody, memory_bytes), kMemoryBytesMax + 1), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint64_t>(offsetof(StartBody, tmp_bytes), 0), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, cpu_milli), 0), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, pids_max), 1), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, sockets), kSocketsPerRequestMax + 1), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, engine), 2), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, argument_count), 0), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, argument_count), 0xffffffff), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, variable_count), 0xffffffff), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, strings_bytes), 1), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, restore), 1), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, restore), 1), 3).ok());
  EXPECT_TRUE(decode(with_field<std::uint32_t>(offsetof(StartBody, restore), 1), 4).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, model), 1), 2).ok());
  EXPECT_TRUE(decode(with_field<std::uint32_t>(offsetof(StartBody, model), 1), 3).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, model), 2), 3).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, runtime), 2), 3).ok());
  EXPECT_TRUE(decode(with_field<std::uint32_t>(offsetof(StartBody, runtime), 1), 3).ok());
  EXPECT_FALSE(decode(with_field<std::uint32_t>(offsetof(StartBody, layers), 2), 3).ok());
  EXPECT_TRUE(decode(with_field<std::uint32_t>(offsetof(StartBody, layers), 1), 3).ok());
  EXPECT_TRUE(decode(with_field<std::uint16_t>(offsetof(StartBody, runtime_api_port), 65535), 2).ok());
  EXPECT_TRUE(decode(with_field<std::uint16_t>(offsetof(StartBody, egress), 1), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint16_t>(offsetof(StartBody, egress), 2), 2).ok());
  EXPECT_TRUE(decode(with_field<std::uint16_t>(offsetof(StartBody, calls_port), 9002), 2).ok());
  EXPECT_FALSE(decode(with_field<std::uint16_t>(offsetof(StartBody, reserved), 1), 2).ok());
}

TEST(Protocol, TheTwoListenersAreOfDifferentPorts) {
  EnvironmentSpec spec = valid_spec();
  spec.runtime_api_port = 9001;
  spec.calls_port = 9002;
  const auto both = encode_start(1, spec);
  ASSERT_TRUE(both.ok());
  EXPECT_EQ(decode(*both, 2)->start.calls_port, 9002);
  spec.calls_port = 9001;
  EXPECT_FALSE(encode_start(1, spec).ok());
}

TEST(Protocol, EachListenerOfAReplyIsADescriptor) {
  const std::string bytes = encode_started(5, 7, {.sockets = 2, .listener = 1, .calls_listener = 1});
  const std::span<const std::byte> span(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size());
  EXPECT_TRUE(decode_reply(span, 4).ok());
  EXPECT_FALSE(decode_reply(span, 3).ok());
}

TEST(Protocol, DescriptorsMustBeAsManyAsTheTypeSays) {
  for (const std::size_t count : {0u, 1u, 3u}) EXPECT_FALSE(decode(*encode_start(3, valid_spec()), count).ok());
  EXPECT_FALSE(decode(encode_destroy(7), 1).ok());
  EXPECT_EQ(decode(encode_terminate(7), 0)->type, MessageType::terminate);
  EXPECT_EQ(decode(encode_terminate(7), 0)->id, 7U);
  EXPECT_FALSE(decode(encode_terminate(7), 1).ok());
  EXPECT_FALSE(decode(encode_terminate(7) + "x", 0).ok());
  EXPECT_FALSE(decode(encode_make_sockets(4, 7, 1), 1).ok());
}

TEST(Protocol, ForeignHeadersAreRefused) {
  std::string bytes = encode_destroy(7);
  EXPECT_TRUE(decode(bytes, 0).ok());
  for (std::size_t byte = 0; byte < 8; ++byte) {  // magic, version, type
    std::string changed = bytes;
    changed[byte] = static_cast<char>(changed[byte] ^ 0x40);
    EXPECT_FALSE(decode(changed, 0).ok()) << byte;
  }
}

TEST(Protocol, MakeSocketsIsBounded) {
  EXPECT_EQ(decode(encode_make_sockets(4, 7, 64), 0)->count, 64u);
  EXPECT_FALSE(decode(encode_make_sockets(4, 7, 0), 0).ok());
  EXPECT_FALSE(decode(encode_make_sockets(4, 7, 65), 0).ok());
}

TEST(Protocol, WhatTheDecoderRefusesIsNotEncoded) {
  EnvironmentSpec spec = valid_spec();
  spec.argv = {};
  EXPECT_FALSE(encode_start(1, spec).ok());
  spec = valid_spec();
  spec.environment = {"=x"};
  EXPECT_FALSE(encode_start(1, spec).ok());
  spec = valid_spec();
  spec.argv[1] = std::string("a\0b", 3);
  EXPECT_FALSE(encode_start(1, spec).ok());
  spec = valid_spec();
  spec.environment = {"A=" + std::string(kArgumentsBytesMax, 'x')};
  EXPECT_FALSE(encode_start(1, spec).ok());
  spec = valid_spec();
  spec.pids_max = 0;
  EXPECT_FALSE(encode_start(1, spec).ok());
}

TEST(Protocol, RepliesComeBackAsTheyWereSent) {
  StartedBody body{.took_us = 900, .controls = kControlFreezeV2 | kControlCpuV1, .cpu_quota_us = 1440, .sockets = 2};
  const std::string bytes = encode_started(5, 7, body);
  const std::span<const std::byte> span(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size());
  const auto reply = decode_reply(span, 4);
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(reply->started.took_us, 900u);
  EXPECT_EQ(reply->started.cpu_quota_us, 1440u);
  EXPECT_FALSE(decode_reply(span, 3).ok());
  EXPECT_FALSE(decode_reply(span.first(span.size() - 1), 4).ok());
}

TEST(Protocol, ErrorsKeepKindCodeAndText) {
  const Error error{ErrorKind::function_failed, std::string(500, 'm'), "Function.ExecFailed"};
  const Error back = error_of(outcome_of(error));
  EXPECT_EQ(back.kind, error.kind);
  EXPECT_EQ(back.code, error.code);
  EXPECT_EQ(back.message, std::string(sizeof(Outcome::message) - 1, 'm'));
}

}  // namespace
}  // namespace thaw::sandbox::protocol
