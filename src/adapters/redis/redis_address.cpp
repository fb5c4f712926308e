#include "adapters/redis/redis_address.h"

#include <boost/url.hpp>
#include <charconv>

namespace thaw::adapters {

namespace {

Result<std::uint32_t> parse_database(std::string_view text) {
  std::uint32_t database = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), database);
  if (code != std::errc() || end != text.data() + text.size() || database >= kRedisDatabasesMax)
    return invalid_argument("the database of a redis:// address is a number below " +
                            std::to_string(kRedisDatabasesMax));
  return database;
}

Status read_socket(const boost::urls::url_view& url, RedisAddress& address) {
  address.socket = url.path();
  if (!url.host().empty() || url.has_port() || address.socket.size() < 2 ||
      address.socket.find('\0') != std::string::npos)
    return invalid_argument("a redis+unix:// address is redis+unix:///PATH/OF/SOCKET?db=0");
  for (const auto& parameter : url.params()) {
    if (parameter.key != "db") return invalid_argument("a redis+unix:// address knows only ?db=");
    ASSIGN_OR_RETURN(address.database, parse_database(parameter.value));
  }
  return {};
}

Status read_host(const boost::urls::url_view& url, RedisAddress& address) {
  address.host = url.host_address();  // without the brackets of IPv6
  if (address.host.empty() || address.host.find('\0') != std::string::npos)
    return invalid_argument("a redis:// address names a host: redis://HOST:6379/0");
  if (url.has_port()) {
    address.port = url.port_number();
    if (address.port == 0) return invalid_argument("the port of a redis:// address is a number from 1 to 65535");
  }
  const std::string path = url.path();
  if (path.size() > 1) {
    ASSIGN_OR_RETURN(address.database, parse_database(std::string_view(path).substr(1)));
  }
  if (url.has_query()) return invalid_argument("a redis:// address has no ?parameters");
  return {};
}

}  // namespace

std::string RedisAddress::name() const {
  if (!socket.empty()) return "redis+unix://" + socket + "?db=" + std::to_string(database);
  const bool ipv6 = host.find(':') != std::string::npos;
  return "redis://" + (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port) + "/" + std::to_string(database);
}

Result<RedisAddress> parse_redis_address(std::string_view text) {
  if (text.size() > kRedisUrlBytesMax)
    return invalid_argument("a redis:// address has at most " + std::to_string(kRedisUrlBytesMax) + " bytes");
  const auto parsed = boost::urls::parse_uri(text);
  if (!parsed) return invalid_argument("not a redis:// address: redis://[USER:PASSWORD@]HOST:PORT/DB is expected");
  const boost::urls::url_view url = *parsed;
  if (url.scheme() == "rediss")
    return Error(ErrorKind::unsupported, "rediss:// (TLS) is not supported: use redis://, through a tunnel if need be");
  const bool socket = url.scheme() == "redis+unix";
  if (!socket && url.scheme() != "redis")
    return invalid_argument("a Redis address begins with redis:// or redis+unix://");
  if (url.has_fragment()) return invalid_argument("a redis:// address has no #fragment");
  RedisAddress address{.user = url.user(), .password = url.password()};
  if (!address.user.empty() && !url.has_password())
    return invalid_argument("a redis:// address with a user has a password too: redis://USER:PASSWORD@HOST");
  RETURN_IF_ERROR(socket ? read_socket(url, address) : read_host(url, address));
  return address;
}

}  // namespace thaw::adapters
