// One connection to a PostgreSQL server for prepared statements with binary parameters and answers, and deadlines.
//
// On libpq itself, not on SOCI: a whole read() is one statement with arrays as parameters (unnest), bytes go as they
// are, and every wait has an end, which SOCI's interface has no words for.
#pragma once

#include <libpq-fe.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thaw::adapters {

struct PostgresResultClear {
  void operator()(PGresult* result) const { ::PQclear(result); }
};
using PostgresResult = std::unique_ptr<PGresult, PostgresResultClear>;

// A statement that is prepared at its first use on a connection.
struct PostgresStatement {
  const char* name;
  const char* sql;
  std::span<const Oid> types;  // of its parameters
};

// A parameter's bytes in PostgreSQL's binary form.
std::string postgres_number(std::int64_t number);
std::string postgres_numbers(std::span<const std::int64_t> numbers);                       // int8[]
std::string postgres_array(Oid element_type, std::span<const std::string_view> elements);  // text[] or bytea[]

// Of one answer's row; the column must be of the type.
std::int64_t postgres_number_at(const PGresult& result, int row, int column);
std::string_view postgres_bytes_at(const PGresult& result, int row, int column);

// Checks what libpq would, without connecting. The name has no password: "postgresql://HOST:PORT/DATABASE".
// Errors: invalid_argument, without the password.
Result<std::string> postgres_name(const std::string& url);

// Threads: one at a time.
// Errors, of all: unavailable, corrupt, invalid_argument, internal; with the server's name and never its password.
class PostgresConnection {
 public:
  struct Timeouts {
    std::chrono::milliseconds connect{1000};  // without the name's resolution, which libpq waits for
    std::chrono::milliseconds command{2000};  // of one statement, at the server, and a little more here
  };
  static Result<std::unique_ptr<PostgresConnection>> open(const std::string& url, const std::string& name,
                                                          Timeouts timeouts);

  Result<PostgresResult> run(const PostgresStatement& statement, std::span<const std::string> parameters);
  // One or more statements without parameters; the last one's answer, as text.
  Result<PostgresResult> execute(const std::string& sql);

  bool lost() const { return lost_; }
  bool hung() const { return hung_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Finish {
    void operator()(PGconn* connection) const { ::PQfinish(connection); }
  };
  PostgresConnection(std::string name, Timeouts timeouts) : name_(std::move(name)), timeouts_(timeouts) {}

  // The server's own end of a statement comes first: the connection stays good then.
  std::chrono::milliseconds patience() const { return timeouts_.command * 5 / 4 + std::chrono::milliseconds(50); }
  Status connect(const std::string& url);
  Status prepare(const PostgresStatement& statement);
  Status await(short events, Clock::time_point until);
  // What was sent goes out, and its answers come in: the last one, or the first one's error.
  Result<PostgresResult> finish(Clock::time_point until);
  Error refused(const PGresult& result);
  Error failed(std::string_view why = {});

  const std::string name_;
  const Timeouts timeouts_;
  std::unique_ptr<PGconn, Finish> connection_;
  std::vector<const char*> prepared_;  // names
  bool lost_ = false;
  bool hung_ = false;
};

}  // namespace thaw::adapters
