-- Claim lanes to answer their first turns: those whose worker died, then ready ones in fair order. A lane whose first
-- turn was under way when two workers died is a suspect. Only an idle worker claims suspects, half of them at a time: so
-- the turn that kills workers is found by bisection, within a few deaths among any number of innocent ones.
--
-- takes    last_epoch: the key of the number of the last lease; lease: milliseconds; most: lanes to claim; idle: whether
--          the worker has nothing else to do; newest: format that it reads; together: turns merged at most (1: no merging);
--          platforms
-- returns  {lanes, "1" if this worker should become idle to claim suspects}; a lane is {lane, epoch, tries, "1" if it is
--          given up, milliseconds since it was accepted, jobs, refs, text, intent, seal, notes}, with a note for each job
local MAX_NOTICE_TRIES = 6 -- claims of a turn that is given up, to tell people so
local MAX_RELEASE_MS = 600000 -- milliseconds that a released lane waits at most
local MAX_ORPHANS = 500 -- expired leases that one call handles
local time, taken = now(), {}

-- Whether this worker can read the first job of a lane. A lane without jobs loses its place.
local function has_readable_job(lane)
  local job, version = first_readable_job(lane)
  if not job then
    remove_from_place(lane)
  end
  return job and version <= newest
end

-- How many of the first jobs are merged into one.
local function count_merged(jobs)
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

-- Claim a lane; ``width`` is the number of suspects claimed together (0 if it is none).
local function claim_lane(lane, width)
  local inbox, state = inbox_of(lane), state_of(lane)
  local jobs = redis.call("LRANGE", inbox, 0, together - 1)
  local count = count_in(state, "count")
  if count == 0 then
    count = count_merged(jobs)
  elseif count > #jobs then
    jobs = redis.call("LRANGE", inbox, 0, count - 1)
    count = #jobs
  end
  local mine, notes = {}, {}
  for index = 1, count do
    mine[index] = jobs[index]
    notes[index] = redis.call("HGET", state, "note:" .. job_in(jobs[index]).turn.id) or ""
  end
  local last = of_type("string", last_epoch)
  local before = redis.call("GET", last) or ""
  if not string.match(before, "^%d+$") or #before > 15 then
    redis.call("SET", last, string.format("%d", time)) -- so that it exceeds all epochs before a loss of data
  end
  local epoch = redis.call("INCR", last)
  redis.call("EXPIRE", last, 30 * 86400)
  local tries = count_in(state, "tries") + 1
  local hopeless = redis.call("HGET", state, "limit") == "0"
  redis.call("HSET", state, "epoch", epoch, "owner", worker, "count", count, "tries", tries, "width", width)
  if hopeless then
    redis.call("HSET", state, "tells", count_in(state, "tells") + 1)
  end
  redis.call("EXPIRE", state, UNFINISHED_TTL)
  redis.call("EXPIRE", inbox, UNFINISHED_TTL)
  remove_from_place(lane)
  local held = lanes_at("held", platform_of(lane))
  redis.call("ZADD", held, time + lease, lane)
  redis.call("EXPIRE", held, UNFINISHED_TTL)
  local kept = redis.call("HMGET", state, "refs", "text", "intent", "seal")
  local accepted = number_in(redis.call("HGET", turn_of(job_in(mine[#mine]).turn.id), "at"), time)
  taken[#taken + 1] = {
    lane, epoch, tries, hopeless and "1" or "0", math.max(0, time - accepted), mine,
    kept[1] or "", kept[2] or "", kept[3] or "", kept[4] or "", notes,
  }
end

-- Claim lanes whose leases expired. A lease too long to be true was given before the clock was set back: it has, too.
local function claim_orphans(platform)
  local held = lanes_at("held", platform)
  local found = redis.call("ZRANGEBYSCORE", held, "-inf", time, "LIMIT", 0, MAX_ORPHANS)
  local future = time + math.max(10 * lease, MAX_RELEASE_MS)
  for _, lane in ipairs(redis.call("ZRANGEBYSCORE", held, "(" .. string.format("%.0f", future), "+inf", "LIMIT", 0, MAX_ORPHANS)) do
    found[#found + 1] = lane
  end
  for _, lane in ipairs(found) do
    local state = state_of(lane)
    local width, limit = count_in(state, "width"), redis.call("HGET", state, "limit")
    if width > 0 and limit ~= "0" and redis.call("HGET", state, "epoch") ~= "0" then
      -- Its worker died with a group of suspects: next time the group is half as large. A group of one is the killer.
      limit = string.format("%d", math.floor(width / 2))
      redis.call("HSET", state, "limit", limit, "width", 0)
    end
    if not redis.call("LINDEX", inbox_of(lane), 0) then
      remove_from_place(lane)
    elseif limit == "0" and count_in(state, "tells") >= MAX_NOTICE_TRIES then -- workers even died telling people so
      local count = count_in(state, "count", 1)
      move_first_to_dead_letters(lane, count, "workers died of it, even of saying so")
      end_first_jobs(lane, count, "")
    elseif count_in(state, "tries") >= MAX_TRIES_WITH_OTHERS then
      make_suspect(lane)
    elseif #taken < most and has_readable_job(lane) then
      claim_lane(lane, 0)
    end
  end
end

-- For each suspect: how many can be claimed together with it, itself included. At first, half of all suspects.
local function suspect_limits(suspects)
  local lanes = redis.call("ZRANGE", suspects, 0, -1)
  local half = string.format("%d", math.ceil(#lanes / 2))
  local found = {}
  for index, lane in ipairs(lanes) do
    local state = state_of(lane)
    local limit = redis.call("HGET", state, "limit")
    if not limit or not tonumber(limit) then
      limit = half
      redis.call("HSET", state, "limit", limit)
      redis.call("EXPIRE", state, UNFINISHED_TTL)
    end
    found[index] = { lane, math.max(1, number_in(limit, 1)) }
  end
  return found
end

-- Claim suspects of one platform, longest waiting first, as many as can be claimed together.
local function claim_suspects(suspects)
  local chosen, limit = {}, most
  for _, one in ipairs(suspect_limits(suspects)) do
    local lane, alongside = one[1], one[2]
    if #chosen < math.min(limit, alongside) and has_readable_job(lane) then
      chosen[#chosen + 1], limit = lane, math.min(limit, alongside)
    end
  end
  for _, lane in ipairs(chosen) do
    claim_lane(lane, #chosen)
  end
end

local suspected = false
for _, platform in ipairs(platforms) do
  claim_orphans(platform)
  local suspects = lanes_at("suspects", platform)
  if redis.call("EXISTS", suspects) == 1 then
    suspected = true
    if idle and #taken == 0 then
      claim_suspects(suspects)
      if #taken > 0 then
        redis.call("SET", PREFIX .. "quarantine", worker, "PX", 2 * lease)
        return { taken, "1" }
      end
    end
  end
end
if suspected then
  -- One worker looks after the suspects; the others continue.
  local duty = of_type("string", PREFIX .. "quarantine")
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
  local passed, page = 0, {} -- lanes that only a newer worker can read stay ready
  repeat
    page = redis.call("ZRANGE", ready, passed, passed + most - 1)
    for _, lane in ipairs(page) do
      if #taken >= most then
        break
      end
      local tag = number_in(redis.call("ZSCORE", ready, lane), 0)
      if has_readable_job(lane) then
        claim_lane(lane, 0)
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
    wake_worker(platform)
  else
    redis.call("DEL", PREFIX .. "bell:" .. platform)
  end
end
return { taken, "0" }
