-- Prints wrk's figures as one line of JSON; latencies in microseconds.
done = function(summary, latency, requests)
  local errors = summary.errors
  local fields = {
    requests = summary.requests,
    duration_us = summary.duration,
    mean = latency.mean,
    p10 = latency:percentile(10),
    p50 = latency:percentile(50),
    p90 = latency:percentile(90),
    p99 = latency:percentile(99),
    p999 = latency:percentile(99.9),
    max = latency.max,
    errors_connect = errors.connect,
    errors_read = errors.read,
    errors_write = errors.write,
    errors_status = errors.status,
    errors_timeout = errors.timeout,
  }
  local parts = {}
  for name, value in pairs(fields) do
    parts[#parts + 1] = string.format('"%s":%.3f', name, value)
  end
  io.write("\nWRK {" .. table.concat(parts, ",") .. "}\n")
end
