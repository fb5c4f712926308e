// The template half of http/client.h; included by it alone.
#pragma once

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>

#include "http/client.h"

namespace thaw::http {

template <class Buffers>
Task<Status> ClientConnection::send(const Buffers& buffers) {
  boost::system::error_code error;
  const std::size_t total = asio::buffer_size(buffers);
  const std::size_t sent = socket_.write_some(buffers, error);
  if (!error && sent == total) co_return Status();
  if (error == asio::error::would_block) error = {};
  if (error) co_return failure(error);
  std::size_t skip = sent;
  for (auto it = asio::buffer_sequence_begin(buffers); it != asio::buffer_sequence_end(buffers) && !error; ++it) {
    asio::const_buffer part(*it);
    const std::size_t cut = std::min(skip, part.size());
    skip -= cut;
    part += cut;
    if (part.size() > 0) co_await asio::async_write(socket_, part, asio::redirect_error(use_task, error));
  }
  if (error) co_return failure(error);
  co_return Status();
}

}  // namespace thaw::http
