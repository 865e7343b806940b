-- wrk's side of load.py: posts the bodies of a file, one a line, over and over, and prints what was counted as JSON.

local requests, last = {}, 0

function init(arguments)
  local headers = { ["Content-Type"] = "application/json" }
  for body in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, headers, body)
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end

function done(summary, latency)
  local errors, counts = {}, {}
  for name, count in pairs(summary.errors) do
    errors[#errors + 1] = string.format('"%s":%d', name, count)
  end
  for i = 1, #latency do
    local microseconds, count = latency(i)
    counts[#counts + 1] = string.format("[%d,%d]", microseconds, count)
  end
  print(string.format('{"requests":%d,"duration_us":%d,"errors":{%s},"latencies":[%s]}', summary.requests,
    summary.duration, table.concat(errors, ","), table.concat(counts, ",")))
end
