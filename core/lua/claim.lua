-- Take lanes to answer their first turns: those whose worker died, then those that wait, in fair order. A lane whose first
-- turn was under way when two workers died is taken alone, so that whatever kills them takes no neighbour with it.
--
-- KEYS  the number of the last lease
-- ARGV  worker, milliseconds of a lease, most lanes to take, "1" if the worker has nothing else to do, newest format
--       that it reads, most turns to take together ("1": no merging), most dead letters, platforms…
-- returns  {lanes, "1" if this worker should become idle to take a suspect}; a lane is {lane, epoch, tries, jobs, refs, text,
--          intent, seal, notes}, with a note for each job
local worker, lease, most, idle = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == "1"
local newest, together, graves = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local TRIES, TELLS = 3, 6 -- tries in all, and tries to tell that it is given up
local time, taken = now(), {}

local function readable(lane)
  local head = redis.call("LINDEX", inbox_of(lane), 0)
  return head and cjson.decode(head).v <= newest
end

-- How many of the first turns are answered as one.
local function group(jobs)
  local first, count = cjson.decode(jobs[1]), 1
  while not first.alone and jobs[count + 1] do
    local following = cjson.decode(jobs[count + 1])
    if following.alone or following.v > newest or following.turn.key ~= first.turn.key then
      break
    end
    count = count + 1
  end
  return count
end

local function take(lane)
  local inbox, state = inbox_of(lane), state_of(lane)
  local jobs = redis.call("LRANGE", inbox, 0, together - 1)
  local count = tonumber(redis.call("HGET", state, "count") or "0")
  if count == 0 then
    count = group(jobs)
  elseif count > #jobs then
    jobs = redis.call("LRANGE", inbox, 0, count - 1)
  end
  local mine, notes = {}, {}
  for index = 1, count do
    mine[index] = jobs[index]
    notes[index] = redis.call("HGET", state, "note:" .. cjson.decode(jobs[index]).turn.id) or ""
  end
  if redis.call("EXISTS", KEYS[1]) == 0 then
    redis.call("SET", KEYS[1], string.format("%d", time)) -- never the number of a lease before a loss of data
  end
  local epoch = redis.call("INCR", KEYS[1])
  redis.call("EXPIRE", KEYS[1], 30 * 86400)
  local tries = redis.call("HINCRBY", state, "tries", 1)
  redis.call("HSET", state, "epoch", epoch, "owner", worker, "count", count)
  redis.call("EXPIRE", state, TTL)
  redis.call("EXPIRE", inbox, TTL)
  leave(lane)
  local held = P .. "held:" .. platform_of(lane)
  redis.call("ZADD", held, time + lease, lane)
  redis.call("EXPIRE", held, TTL)
  local kept = redis.call("HMGET", state, "refs", "text", "intent", "seal")
  taken[#taken + 1] =
    { lane, epoch, tries, mine, kept[1] or "", kept[2] or "", kept[3] or "", kept[4] or "", notes }
end

-- Leases that ran out; one that ends later than a lease can last was given before the clock was set back.
local function orphans(platform)
  local held = P .. "held:" .. platform
  local found = redis.call("ZRANGEBYSCORE", held, "-inf", time, "LIMIT", 0, most)
  for _, lane in ipairs(redis.call("ZRANGEBYSCORE", held, "(" .. time + 10 * lease, "+inf", "LIMIT", 0, most)) do
    found[#found + 1] = lane
  end
  for _, lane in ipairs(found) do
    local tries = tonumber(redis.call("HGET", state_of(lane), "tries") or "0")
    if not redis.call("LINDEX", inbox_of(lane), 0) then
      leave(lane)
    elseif tries >= TRIES + TELLS then -- workers died of telling people that it is given up
      local count = tonumber(redis.call("HGET", state_of(lane), "count") or "1")
      bury(lane, count, "workers died of it, even of saying so", graves)
      finish(lane, count, "")
    elseif tries >= COMPANY then
      suspect(lane)
    elseif #taken < most and readable(lane) then
      take(lane)
    end
  end
end

local suspected = false
for index = 8, #ARGV do
  local platform = ARGV[index]
  orphans(platform)
  local suspects = P .. "suspects:" .. platform
  if redis.call("EXISTS", suspects) == 1 then
    suspected = true
    if idle and #taken == 0 then
      local lane = redis.call("ZRANGE", suspects, 0, 0)[1]
      if not redis.call("LINDEX", inbox_of(lane), 0) then
        leave(lane)
      elseif readable(lane) then
        take(lane)
        redis.call("SET", P .. "quarantine", worker, "PX", 2 * lease)
        return { taken, "1" }
      end
    end
  end
end
if suspected then
  -- One worker is enough to look after them; the others go on.
  local duty = P .. "quarantine"
  local who = redis.call("GET", duty)
  if not who or who == worker then
    redis.call("SET", duty, worker, "PX", 2 * lease)
    if #taken > 0 or not idle then
      return { taken, "1" }
    end
  end
end

for index = 8, #ARGV do
  local platform = ARGV[index]
  local ready = P .. "ready:" .. platform
  local passed, page = 0, {} -- lanes that only a newer worker can read keep their places
  repeat
    page = redis.call("ZRANGE", ready, passed, passed + most - 1)
    for _, lane in ipairs(page) do
      if #taken >= most then
        break
      end
      if not redis.call("LINDEX", inbox_of(lane), 0) then
        leave(lane)
      elseif readable(lane) then
        local tag = redis.call("ZSCORE", ready, lane)
        take(lane)
        local clock = P .. "clock:" .. platform
        if tonumber(tag) > tonumber(redis.call("GET", clock) or "0") then
          redis.call("SET", clock, tag, "EX", 86400)
        end
      else
        passed = passed + 1
      end
    end
  until #taken >= most or #page < most
  if redis.call("ZCARD", ready) > passed then
    ring(platform)
  else
    redis.call("DEL", P .. "bell:" .. platform)
  end
end
return { taken, "0" }
