-- Accept a message: once, into its lane, within what may wait there and what its author may ask for. All of it or nothing.
--
-- KEYS  the turn
-- ARGV  token, turn's id, lane, job as JSON, most that may wait in the lane, "queue" | "merge" | "interrupt", the note that
--       stops an older turn (JSON), then for each quota: scope, turns a minute, tokens a day, turns that wait ("" for no limit)
-- returns  {1, turns before it} if accepted, {0, 0} if it was accepted before, {-1, turns waiting} if the lane is full,
--          {-2, number of the quota, "turns" | "tokens" | "queued", seconds until it works again}
local token, turn, lane, job, most, follow_up = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]

local known = redis.call("HMGET", of_kind("hash", KEYS[1]), "token", "before")
if known[1] then
  -- The same call, sent again because a connection broke, gets the same answer.
  return known[1] == token and { 1, number_in(known[2], 0) } or { 0, 0 }
end

local inbox = inbox_of(lane)
local before = redis.call("LLEN", inbox)
if before >= most then
  return { -1, before }
end

local time = now()
local today = "tokens:" .. math.floor(time / 86400000)
for index = 8, #ARGV, 4 do
  local scope, turns, tokens, queued = ARGV[index], tonumber(ARGV[index + 1]), tonumber(ARGV[index + 2]), tonumber(ARGV[index + 3])
  local number = (index - 8) / 4
  if queued and redis.call("ZCARD", quota_of(scope, "open")) >= queued then
    return { -2, number, "queued", 0 }
  end
  if tokens and number_in(redis.call("GET", quota_of(scope, today)), 0) >= tokens then
    return { -2, number, "tokens", math.ceil((86400000 - time % 86400000) / 1000) }
  end
  if turns then
    local recent = quota_of(scope, "turns")
    redis.call("ZREMRANGEBYSCORE", recent, "-inf", time - 60000)
    redis.call("ZREMRANGEBYSCORE", recent, "(" .. string.format("%.0f", time + 60000), "+inf")
    if redis.call("ZCARD", recent) >= turns then
      local oldest = number_in(redis.call("ZRANGE", recent, 0, 0, "WITHSCORES")[2], time)
      return { -2, number, "turns", math.min(60, math.max(1, math.ceil((oldest + 60000 - time) / 1000))) }
    end
  end
end
for index = 8, #ARGV, 4 do
  if ARGV[index + 1] ~= "" then
    local recent = quota_of(ARGV[index], "turns")
    redis.call("ZADD", recent, time, turn)
    redis.call("EXPIRE", recent, 60)
  end
  if ARGV[index + 3] ~= "" then
    local open = quota_of(ARGV[index], "open")
    redis.call("ZADD", open, time, turn)
    redis.call("EXPIRE", open, TTL)
  end
end

local heard_before = decode(redis.call("HGET", KEYS[1], "note")) -- it was edited, and that came first
redis.call("HDEL", KEYS[1], "note")
open_turn(turn, lane, cjson.decode(job).id, token, before)
redis.call("RPUSH", inbox, job)
redis.call("EXPIRE", inbox, TTL)
if not stands(lane) then
  make_ready(lane)
end
if heard_before then
  add_note(lane, turn, heard_before)
end
if follow_up == "interrupt" then
  local author = cjson.decode(job).turn.uid
  for _, older in ipairs(redis.call("LRANGE", inbox, 0, -2)) do
    local earlier = job_in(older).turn
    if earlier.uid == author and earlier.id ~= "" then
      add_note(lane, earlier.id, { stop = cjson.decode(ARGV[7]) })
    end
  end
end
return { 1, before }
