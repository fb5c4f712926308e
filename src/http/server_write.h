// The template half of http/server.h; included by it alone.
#pragma once

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>

#include "http/server.h"

namespace thaw::http {

template <class Buffers>
Task<Status> Exchange::write_raw(const Buffers& buffers) {
  boost::system::error_code error;
  // Most responses fit the socket's buffer: one call, no trip through the reactor.
  const std::size_t total = asio::buffer_size(buffers);
  std::size_t sent = connection_.socket_.write_some(buffers, error);
  if (!error && sent == total) co_return Status();
  if (error == asio::error::would_block || error == asio::error::try_again) {
    error = {};
    sent = 0;
  }
  if (!error) {
    std::vector<asio::const_buffer> rest;
    for (auto it = asio::buffer_sequence_begin(buffers); it != asio::buffer_sequence_end(buffers); ++it) {
      asio::const_buffer part(*it);
      const std::size_t skip = std::min(sent, part.size());
      sent -= skip;
      part += skip;
      if (part.size() > 0) rest.push_back(part);
    }
    while (!rest.empty()) {
      connection_.begin_write(write_deadline_);
      const std::size_t count =
          co_await connection_.socket_.async_write_some(rest, asio::redirect_error(use_task, error));
      connection_.end_write();
      if (error) break;
      std::size_t left = count;
      while (!rest.empty() && left >= rest.front().size()) {
        left -= rest.front().size();
        rest.erase(rest.begin());
      }
      if (!rest.empty()) rest.front() += left;
    }
  }
  if (error) {
    client_gone_ = true;
    close_ = true;
    co_return Error{connection_.timed_out_ ? ErrorKind::timeout : ErrorKind::unavailable,
                    connection_.timed_out_ ? "the client took the response too slowly" : "the client went away"};
  }
  co_return Status();
}

}  // namespace thaw::http
