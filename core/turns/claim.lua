-- Take lanes to answer their first turns: those whose worker died, then those that wait, in fair order. A lane whose first
-- turn was under way when two workers died is a suspect. Suspects are taken by a worker that has nothing else to do, half
-- of them at a time: the turn that kills workers is found among any number of innocent ones within a few deaths, and the
-- innocent ones are not tried one by one.
--
-- takes    last_epoch: the key of the number of the last lease; lease: milliseconds; most: lanes to take; idle: whether
--          the worker has nothing else to do; newest: format that it reads; together: most turns taken as one (1: no merging);
--          platforms
-- returns  {lanes, "1" if this worker should become idle to take suspects}; a lane is {lane, epoch, tries, "1" if it is
--          given up, milliseconds since it was accepted, jobs, refs, text, intent, seal, notes}, with a note for each job
local TELLS = 6 -- tries to tell people that a turn is given up
local LONGEST_WAIT = 600000 -- milliseconds that a released lane waits at the most
local MOST_ORPHANS = 500 -- leases that ran out and are looked at in one step
local time, taken = now(), {}

-- Whether a lane has a first turn that this worker can read. One without turns is left.
local function readable(lane)
  local job, version = first_job(lane)
  if not job then
    leave(lane)
  end
  return job and version <= newest
end

-- How many of the first turns are answered as one.
local function group(jobs)
  local first, count = job_in(jobs[1]), 1
  while not first.alone and jobs[count + 1] do
    local following, version = read_job(jobs[count + 1])
    if not following or following.alone or version > newest or following.turn.key ~= first.turn.key then
      break
    end
    count = count + 1
  end
  return count
end

-- Take a lane, together with ``width`` suspects if it is one of them (0 if it is not).
local function take(lane, width)
  local inbox, state = inbox_of(lane), state_of(lane)
  local jobs = redis.call("LRANGE", inbox, 0, together - 1)
  local count = count_in(state, "count")
  if count == 0 then
    count = group(jobs)
  elseif count > #jobs then
    jobs = redis.call("LRANGE", inbox, 0, count - 1)
    count = #jobs
  end
  local mine, notes = {}, {}
  for index = 1, count do
    mine[index] = jobs[index]
    notes[index] = redis.call("HGET", state, "note:" .. job_in(jobs[index]).turn.id) or ""
  end
  local last = of_kind("string", last_epoch)
  local before = redis.call("GET", last) or ""
  if not string.match(before, "^%d+$") or #before > 15 then
    redis.call("SET", last, string.format("%d", time)) -- never the number of a lease before a loss of data
  end
  local epoch = redis.call("INCR", last)
  redis.call("EXPIRE", last, 30 * 86400)
  local tries = count_in(state, "tries") + 1
  local hopeless = redis.call("HGET", state, "limit") == "0"
  redis.call("HSET", state, "epoch", epoch, "owner", worker, "count", count, "tries", tries, "width", width)
  if hopeless then
    redis.call("HSET", state, "tells", count_in(state, "tells") + 1)
  end
  redis.call("EXPIRE", state, TTL)
  redis.call("EXPIRE", inbox, TTL)
  leave(lane)
  local held = lanes_at("held", platform_of(lane))
  redis.call("ZADD", held, time + lease, lane)
  redis.call("EXPIRE", held, TTL)
  local kept = redis.call("HMGET", state, "refs", "text", "intent", "seal")
  local accepted = number_in(redis.call("HGET", turn_of(job_in(mine[#mine]).turn.id), "at"), time)
  taken[#taken + 1] = {
    lane, epoch, tries, hopeless and "1" or "0", math.max(0, time - accepted), mine,
    kept[1] or "", kept[2] or "", kept[3] or "", kept[4] or "", notes,
  }
end

-- Leases that ran out; one that ends later than a lease or a wait can last was given before the clock was set back.
local function orphans(platform)
  local held = lanes_at("held", platform)
  local found = redis.call("ZRANGEBYSCORE", held, "-inf", time, "LIMIT", 0, MOST_ORPHANS)
  local future = time + math.max(10 * lease, LONGEST_WAIT)
  for _, lane in ipairs(redis.call("ZRANGEBYSCORE", held, "(" .. string.format("%.0f", future), "+inf", "LIMIT", 0, MOST_ORPHANS)) do
    found[#found + 1] = lane
  end
  for _, lane in ipairs(found) do
    local state = state_of(lane)
    local width, limit = count_in(state, "width"), redis.call("HGET", state, "limit")
    if width > 0 and limit ~= "0" and redis.call("HGET", state, "epoch") ~= "0" then
      -- The worker that took it with other suspects died: next time it is taken with half as many, or it is the killer.
      limit = string.format("%d", math.floor(width / 2))
      redis.call("HSET", state, "limit", limit, "width", 0)
    end
    if not redis.call("LINDEX", inbox_of(lane), 0) then
      leave(lane)
    elseif limit == "0" and count_in(state, "tells") >= TELLS then -- workers died of telling people that it is given up
      local count = count_in(state, "count", 1)
      bury_first(lane, count, "workers died of it, even of saying so")
      finish(lane, count, "")
    elseif count_in(state, "tries") >= COMPANY then
      suspect(lane)
    elseif #taken < most and readable(lane) then
      take(lane, 0)
    end
  end
end

-- The most suspects that are taken together with a lane, itself included: half of those that became suspects at the same
-- time.
local function limits(suspects)
  local lanes = redis.call("ZRANGE", suspects, 0, -1)
  local half = string.format("%d", math.ceil(#lanes / 2))
  local found = {}
  for index, lane in ipairs(lanes) do
    local state = state_of(lane)
    local limit = redis.call("HGET", state, "limit")
    if not limit or not tonumber(limit) then
      limit = half
      redis.call("HSET", state, "limit", limit)
      redis.call("EXPIRE", state, TTL)
    end
    found[index] = { lane, math.max(1, number_in(limit, 1)) }
  end
  return found
end

-- Take suspects of one platform, as many as may be taken together, those first that wait longest.
local function take_suspects(suspects)
  local chosen, limit = {}, most
  for _, one in ipairs(limits(suspects)) do
    local lane, alongside = one[1], one[2]
    if #chosen < math.min(limit, alongside) and readable(lane) then
      chosen[#chosen + 1], limit = lane, math.min(limit, alongside)
    end
  end
  for _, lane in ipairs(chosen) do
    take(lane, #chosen)
  end
end

local suspected = false
for _, platform in ipairs(platforms) do
  orphans(platform)
  local suspects = lanes_at("suspects", platform)
  if redis.call("EXISTS", suspects) == 1 then
    suspected = true
    if idle and #taken == 0 then
      take_suspects(suspects)
      if #taken > 0 then
        redis.call("SET", P .. "quarantine", worker, "PX", 2 * lease)
        return { taken, "1" }
      end
    end
  end
end
if suspected then
  -- One worker is enough to look after them; the others go on.
  local duty = of_kind("string", P .. "quarantine")
  local who = redis.call("GET", duty)
  if not who or who == worker then
    redis.call("SET", duty, worker, "PX", 2 * lease)
    if #taken > 0 or not idle then
      return { taken, "1" }
    end
  end
end

for _, platform in ipairs(platforms) do
  local ready = lanes_at("ready", platform)
  local passed, page = 0, {} -- lanes that only a newer worker can read keep their places
  repeat
    page = redis.call("ZRANGE", ready, passed, passed + most - 1)
    for _, lane in ipairs(page) do
      if #taken >= most then
        break
      end
      local tag = number_in(redis.call("ZSCORE", ready, lane), 0)
      if readable(lane) then
        take(lane, 0)
        local clock = clock_of(platform)
        if tag > number_in(redis.call("GET", clock), 0) then
          redis.call("SET", clock, string.format("%.9f", tag), "EX", 86400)
        end
      elseif redis.call("ZSCORE", ready, lane) then
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
