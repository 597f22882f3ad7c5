-- Keep leases, save what was written so far, and learn what became known of the turns meanwhile.
--
-- KEYS  the workers
-- ARGV  worker, milliseconds of a lease, then for each lane: lane, epoch, text so far ("" if it is saved already)
-- returns  for each lane its notes, one for each turn that is answered; false where another worker has it
local worker, lease, time = ARGV[1], tonumber(ARGV[2]), now()
of_kind("zset", KEYS[1])
redis.call("ZADD", KEYS[1], time, worker)
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", time - 4 * lease)
redis.call("EXPIRE", KEYS[1], 86400)
local answers = {}
for index = 3, #ARGV, 3 do
  local lane, epoch, text = ARGV[index], ARGV[index + 1], ARGV[index + 2]
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
