-- Keep leases, save what was written so far, and learn what became known of the turns meanwhile.
--
-- takes    workers: their key; worker; lease: milliseconds; leases: for each lane {lane, epoch, text so far ("" if it is
--          saved already)}
-- returns  for each lane its notes, one for each turn that is answered; false where another worker has it
local time = now()
of_type("zset", workers)
redis.call("ZADD", workers, time, worker)
redis.call("ZREMRANGEBYSCORE", workers, "-inf", time - 4 * lease)
redis.call("EXPIRE", workers, 86400)
local answers = {}
for _, held in ipairs(leases) do
  local lane, epoch, text = unpack(held)
  local state = state_of(lane)
  local known = redis.call("HMGET", state, "epoch", "count")
  if known[1] ~= epoch then
    answers[#answers + 1] = false
  else
    redis.call("ZADD", lanes_at("held", platform_of(lane)), time + lease, lane)
    if text ~= "" then
      redis.call("HSET", state, "text", text)
    end
    local notes = {}
    for number, job in ipairs(redis.call("LRANGE", inbox_of(lane), 0, number_in(known[2], 1) - 1)) do
      notes[number] = redis.call("HGET", state, "note:" .. job_in(job).turn.id) or ""
    end
    answers[#answers + 1] = notes
  end
end
return answers
