#include "http/message_reader.h"

#include <gtest/gtest.h>

namespace thaw::http {
namespace {

struct Outcome {
  std::string body;
  Progress progress = Progress::need_bytes;
  std::string error;
};

// Reads a whole message that comes in pieces of so many bytes.
Outcome read(MessageReader<true>& reader, std::string_view bytes, std::size_t at_once) {
  Outcome outcome;
  const auto feed = [&] {
    if (bytes.empty()) return false;
    const auto room = reader.prepare();
    const std::size_t count = std::min({room.size(), bytes.size(), at_once});
    std::memcpy(room.data(), bytes.data(), count);
    reader.commit(count);
    bytes.remove_prefix(count);
    return true;
  };
  while (reader.read_head() == Progress::need_bytes && feed()) {
  }
  for (;;) {
    std::string_view piece;
    outcome.progress = reader.read_body(piece);
    if (outcome.progress == Progress::ready) {
      outcome.body += piece;
    } else if (outcome.progress != Progress::need_bytes || !feed()) {
      break;
    }
  }
  outcome.error = reader.error();
  return outcome;
}

std::string chunked(const std::string& trailers) {
  return "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n" + trailers +
         "\r\n";
}

TEST(MessageReader, KeepsTrailersHoweverTheyAreCut) {
  const std::string error(5000, 'e');
  const std::string message = chunked("Error-Type: Oops\r\nError-Body: " + error + "\r\n");
  for (const std::size_t at_once : {1, 7, 64, 100000}) {
    MessageReader<true> reader(16384);
    const Outcome outcome = read(reader, message, at_once);
    EXPECT_EQ(outcome.progress, Progress::end) << outcome.error;
    EXPECT_EQ(outcome.body, "abcde");
    EXPECT_EQ(reader.trailers().find("error-type"), "Oops");
    EXPECT_EQ(reader.trailers().find("error-body"), error);
    EXPECT_FALSE(reader.head().fields.has("error-type"));
  }
}

TEST(MessageReader, TrailersGoWithTheirMessage) {
  MessageReader<true> reader(16384);
  (void)read(reader, chunked("A: 1\r\n"), 100000);
  EXPECT_EQ(reader.trailers().size(), 1U);
  reader.next_message();
  (void)read(reader, chunked(""), 100000);
  EXPECT_EQ(reader.trailers().size(), 0U);
}

TEST(MessageReader, TrailersHaveBounds) {
  std::string many;
  for (std::size_t i = 0; i <= kTrailersMax; ++i) many += "T" + std::to_string(i) + ": x\r\n";
  const std::string large = "T: " + std::string(kTrailerBytesMax, 'x') + "\r\n";
  for (const std::string& trailers : {many, large}) {
    for (const std::size_t at_once : {1000, 100000}) {
      MessageReader<true> reader(1 << 20);
      EXPECT_EQ(read(reader, chunked(trailers), at_once).progress, Progress::failed);
    }
  }
}

}  // namespace
}  // namespace thaw::http
