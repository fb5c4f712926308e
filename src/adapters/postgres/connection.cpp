#include "adapters/postgres/connection.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

namespace thaw::adapters {

namespace {

void append(std::string& bytes, std::uint64_t bits, int count) {
  for (int shift = 8 * (count - 1); shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(bits >> shift));
}

// array_recv() in PostgreSQL's arrayfuncs.c: dimensions, whether there are nulls, the elements' type; of the one
// dimension its count and first index; then each element's count of bytes and bytes.
std::string array_head(Oid element_type, std::size_t count) {
  std::string bytes;
  append(bytes, 1, 4);
  append(bytes, 0, 4);
  append(bytes, element_type, 4);
  append(bytes, count, 4);
  append(bytes, 1, 4);
  return bytes;
}

constexpr Oid kInt8 = 20;

std::string one_line(std::string text) {
  text.erase(text.find_last_not_of(" \r\n\t") + 1);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text.substr(0, 500);
}

// What an SQLSTATE means to the caller.
ErrorKind kind_of(std::string_view state) {
  const std::string_view kind = state.substr(0, 2);
  // Connection, access, resources, a conflict or deadlock, an operator's word, a transaction that may only read, no
  // such database, the system: it is the server's side that has to change, or time.
  for (const char* known : {"08", "28", "53", "40", "55", "57", "25", "3D", "58"})
    if (kind == known) return ErrorKind::unavailable;
  if (state == "42501") return ErrorKind::unavailable;                   // no privilege
  if (state == "XX001" || state == "XX002") return ErrorKind::corrupt;   // data, index
  if (kind == "22" || kind == "54") return ErrorKind::invalid_argument;  // data, a limit of the server
  return ErrorKind::internal;
}

}  // namespace

std::string postgres_number(std::int64_t number) {
  std::string bytes;
  append(bytes, static_cast<std::uint64_t>(number), 8);
  return bytes;
}

std::string postgres_numbers(std::span<const std::int64_t> numbers) {
  std::string bytes = array_head(kInt8, numbers.size());
  for (const std::int64_t number : numbers) {
    append(bytes, 8, 4);
    append(bytes, static_cast<std::uint64_t>(number), 8);
  }
  return bytes;
}

std::string postgres_array(Oid element_type, std::span<const std::string_view> elements) {
  std::string bytes = array_head(element_type, elements.size());
  for (const std::string_view element : elements) {
    append(bytes, element.size(), 4);
    bytes += element;
  }
  return bytes;
}

std::int64_t postgres_number_at(const PGresult& result, int row, int column) {
  std::uint64_t bits = 0;
  for (const char byte : postgres_bytes_at(result, row, column)) bits = bits << 8 | static_cast<unsigned char>(byte);
  return static_cast<std::int64_t>(bits);
}

std::string_view postgres_bytes_at(const PGresult& result, int row, int column) {
  return {::PQgetvalue(&result, row, column), static_cast<std::size_t>(::PQgetlength(&result, row, column))};
}

Result<std::string> postgres_name(const std::string& url) {
  constexpr std::string_view kExpected =
      "not a postgresql:// address: postgresql://USER:PASSWORD@HOST:5432/DATABASE is expected";
  if (!url.starts_with("postgresql://") && !url.starts_with("postgres://"))
    return invalid_argument(std::string(kExpected));
  char* why = nullptr;
  const std::unique_ptr<PQconninfoOption, decltype(&::PQconninfoFree)> options(::PQconninfoParse(url.c_str(), &why),
                                                                               &::PQconninfoFree);
  const std::unique_ptr<char, decltype(&::PQfreemem)> freed(why, &::PQfreemem);
  if (!options) {
    // Some of libpq's messages repeat the address, with its password.
    const std::string message = why == nullptr ? "" : one_line(why);
    const bool whole = message.empty() || message.find("://") != std::string::npos;
    return invalid_argument(std::string(kExpected) + (whole ? "" : ": " + message));
  }
  std::string host;
  std::string port = "5432";
  std::string database;
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
    if (option->val == nullptr || *option->val == '\0') continue;
    const std::string_view keyword = option->keyword;
    if (keyword == "host" || (keyword == "hostaddr" && host.empty())) host = option->val;
    if (keyword == "port") port = option->val;
    if (keyword == "dbname") database = option->val;
  }
  if (host.starts_with("/")) return "postgresql:///" + database + "?host=" + host;
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return "postgresql://" + host + ":" + port + "/" + database;
}

Error PostgresConnection::failed(std::string_view why) {
  lost_ = true;
  const char* const told = connection_ ? ::PQerrorMessage(connection_.get()) : nullptr;
  std::string message(why);
  if (message.empty() && told != nullptr) message = one_line(told);
  return {ErrorKind::unavailable, name_ + ": " + (message.empty() ? "the connection was lost" : message)};
}

Error PostgresConnection::refused(const PGresult& result) {
  const char* const state_text = ::PQresultErrorField(&result, PG_DIAG_SQLSTATE);
  if (state_text == nullptr) return failed();
  const std::string_view state = state_text;
  // The server ends the connection; or the table or a statement was taken away, and a new connection makes it again.
  if (state.starts_with("57P") || state == "42P01" || state == "26000") lost_ = true;
  const char* const message = ::PQresultErrorField(&result, PG_DIAG_MESSAGE_PRIMARY);
  return {kind_of(state), name_ + ": " + one_line(message == nullptr ? state_text : message)};
}

Result<std::unique_ptr<PostgresConnection>> PostgresConnection::open(const std::string& url, const std::string& name,
                                                                     Timeouts timeouts) {
  std::unique_ptr<PostgresConnection> made(new PostgresConnection(name, timeouts));
  RETURN_IF_ERROR(made->connect(url));
  ASSIGN_OR_RETURN(const PostgresResult set,
                   made->execute("SET statement_timeout = " + std::to_string(timeouts.command.count())));
  return made;
}

Status PostgresConnection::connect(const std::string& url) {
  const auto until = Clock::now() + timeouts_.connect;
  // Words of the address win over those before it.
  const std::array<const char*, 4> words = {"application_name", "client_encoding", "dbname", nullptr};
  const std::array<const char*, 4> values = {"thaw", "UTF8", url.c_str(), nullptr};
  connection_.reset(::PQconnectStartParams(words.data(), values.data(), 1));
  if (!connection_) return failed("out of memory");
  if (::PQstatus(connection_.get()) == CONNECTION_BAD) return failed();
  for (PostgresPollingStatusType state = PGRES_POLLING_WRITING; state != PGRES_POLLING_OK;) {
    RETURN_IF_ERROR(await(state == PGRES_POLLING_READING ? POLLIN : POLLOUT, until));
    state = ::PQconnectPoll(connection_.get());
    if (state == PGRES_POLLING_FAILED) return failed();
  }
  if (::PQsetnonblocking(connection_.get(), 1) != 0) return failed();
  // Notices and warnings are for people at a terminal: standard error is the daemon's log.
  ::PQsetNoticeReceiver(
      connection_.get(), [](void*, const PGresult*) {}, nullptr);
  return {};
}

Status PostgresConnection::await(short events, Clock::time_point until) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd wanted{.fd = ::PQsocket(connection_.get()), .events = events, .revents = 0};
    const int ready = left <= 0 ? 0 : ::poll(&wanted, 1, static_cast<int>(left));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return failed(std::strerror(errno));
    if (ready == 0) {
      hung_ = true;
      return failed("no answer in time");
    }
  }
}

Result<PostgresResult> PostgresConnection::finish(Clock::time_point until) {
  for (int left = 1; left != 0;) {
    left = ::PQflush(connection_.get());
    if (left < 0) return failed();
    if (left == 0) break;
    RETURN_IF_ERROR(await(POLLIN | POLLOUT, until));
    if (::PQconsumeInput(connection_.get()) == 0) return failed();
  }
  PostgresResult last;
  std::optional<Error> error;
  for (;;) {
    while (::PQisBusy(connection_.get()) != 0) {
      RETURN_IF_ERROR(await(POLLIN, until));
      if (::PQconsumeInput(connection_.get()) == 0) break;  // what it said before it went is the next answer
    }
    PostgresResult result(::PQgetResult(connection_.get()));
    if (!result) break;
    const ExecStatusType status = ::PQresultStatus(result.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && !error) error = refused(*result);
    last = std::move(result);
  }
  if (::PQstatus(connection_.get()) != CONNECTION_OK) lost_ = true;
  if (error) return *std::move(error);
  if (!last) return failed();
  return last;
}

Status PostgresConnection::prepare(const PostgresStatement& statement) {
  if (std::find(prepared_.begin(), prepared_.end(), statement.name) != prepared_.end()) return {};
  if (::PQsendPrepare(connection_.get(), statement.name, statement.sql, static_cast<int>(statement.types.size()),
                      statement.types.data()) == 0)
    return failed();
  ASSIGN_OR_RETURN(const PostgresResult done, finish(Clock::now() + patience()));
  prepared_.push_back(statement.name);
  return {};
}

Result<PostgresResult> PostgresConnection::run(const PostgresStatement& statement,
                                               std::span<const std::string> parameters) {
  RETURN_IF_ERROR(prepare(statement));
  std::vector<const char*> values;
  std::vector<int> sizes;
  for (const std::string& parameter : parameters) {
    values.push_back(parameter.data());
    sizes.push_back(static_cast<int>(parameter.size()));
  }
  const std::vector<int> binary(parameters.size(), 1);
  if (::PQsendQueryPrepared(connection_.get(), statement.name, static_cast<int>(parameters.size()), values.data(),
                            sizes.data(), binary.data(), 1) == 0)
    return failed();
  return finish(Clock::now() + patience());
}

Result<PostgresResult> PostgresConnection::execute(const std::string& sql) {
  if (::PQsendQuery(connection_.get(), sql.c_str()) == 0) return failed();
  return finish(Clock::now() + patience());
}

}  // namespace thaw::adapters
