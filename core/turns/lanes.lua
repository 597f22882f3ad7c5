-- Functions that the queue's scripts share. A lane is a line of turns that are answered one after another; its name
-- begins with the platform. While turns wait in its inbox, a lane stands in exactly one place:
--   ready:<platform>     a worker can claim it; the score orders fairly
--   held:<platform>      a worker has a lease on it; the score is the lease's end (milliseconds of Redis's clock)
--   suspects:<platform>  its first turn was under way when two workers died: see claim.lua
--   turn:<root>/waiting  its first turn is in a thread whose root is still being answered
local PREFIX = "{parley}:"
local UNFINISHED_TTL = 7 * 86400 -- seconds that unfinished turns are kept while no worker runs
local TURN_TTL = 86400 -- seconds that a turn is remembered: no platform redelivers an event later than that
local MAX_TRIES_WITH_OTHERS = 2 -- tries of a turn beside other turns; then it becomes a suspect
local MAX_FAILED_TRIES = 3 -- failed tries of a turn, with its worker alive, before it is given up
local ENDED_LANE_TTL = 600 -- seconds in which a delayed worker can still ask how its turn ended

local function inbox_of(lane) return of_type("list", PREFIX .. "lane:" .. lane .. ":inbox") end
local function state_of(lane) return of_type("hash", PREFIX .. "lane:" .. lane .. ":state") end
local function turn_of(turn) return of_type("hash", PREFIX .. "turn:" .. turn) end
local function waiting_for(turn) return of_type("set", PREFIX .. "turn:" .. turn .. "/waiting") end
local function platform_of(lane) return string.match(lane, "^[^:]*") end
local function lanes_at(place, platform) return of_type("zset", PREFIX .. place .. ":" .. platform) end
local function clock_of(platform) return of_type("string", PREFIX .. "clock:" .. platform) end
local function quota_of(scope, what)
  return of_type((what == "turns" or what == "open") and "zset" or "string", PREFIX .. "quota:" .. scope .. ":" .. what)
end

-- A count in a lane's state; ``default`` (0) if there is none.
local function count_in(state, field, default)
  return math.max(0, math.floor(number_in(redis.call("HGET", state, field), default or 0)))
end

-- Read a stored job. Returns the job and its version, or nil and why it is unreadable.
local function read_job(text)
  local job = decode(text)
  if not job then
    return nil, "it is not JSON"
  end
  local version = type(job.v) == "number" and number_in(job.v, -1) or -1
  if version < 1 or version > 1e6 or version % 1 ~= 0 then
    return nil, "it has no version"
  end
  local turn = type(job.turn) == "table" and job.turn or {}
  for _, field in ipairs({ "id", "lane", "key", "uid" }) do
    turn[field] = text_in(turn[field], "")
  end
  turn.root = text_in(turn.root, "")
  job.turn, job.id, job.scopes = turn, text_in(job.id, ""), text_in(job.scopes, "")
  return job, version
end

-- The same for callers that need no reason: an empty job if it is unreadable.
local function job_in(text)
  return read_job(text) or { id = "", scopes = "", turn = { id = "", lane = "", key = "", uid = "", root = "" } }
end

-- Wake one worker. A worker that leaves ready lanes behind wakes another.
local function wake_worker(platform)
  local bell = of_type("list", PREFIX .. "bell:" .. platform)
  if redis.call("EXISTS", bell) == 0 then
    redis.call("RPUSH", bell, "1")
    redis.call("EXPIRE", bell, UNFINISHED_TTL)
  end
end

local function remove_from_place(lane)
  local platform = platform_of(lane)
  redis.call("ZREM", lanes_at("ready", platform), lane)
  redis.call("ZREM", lanes_at("held", platform), lane)
  redis.call("ZREM", lanes_at("suspects", platform), lane)
end

local function has_place(lane)
  local platform = platform_of(lane)
  return redis.call("ZSCORE", lanes_at("ready", platform), lane)
    or redis.call("ZSCORE", lanes_at("held", platform), lane)
    or redis.call("ZSCORE", lanes_at("suspects", platform), lane)
end

-- Make a lane ready, in the order of fair queuing: each person's turns are one tick apart on a clock that advances as
-- turns are claimed, so a person who asks twenty times at once stands behind one who asks once. ``first`` puts it ahead.
local function make_ready(lane, first)
  remove_from_place(lane)
  local head = redis.call("LINDEX", inbox_of(lane), 0)
  if not head then
    return
  end
  local turn = job_in(head).turn
  if turn.root ~= "" and turn.root ~= turn.id then
    local root = redis.call("HMGET", turn_of(turn.root), "status", "lane")
    if root[1] == "open" and root[2] and root[2] ~= lane then
      local waiting = waiting_for(turn.root)
      redis.call("SADD", waiting, lane)
      redis.call("EXPIRE", waiting, UNFINISHED_TTL)
      return
    end
  end
  local platform = platform_of(lane)
  local ready, clock = lanes_at("ready", platform), clock_of(platform)
  local person = clock_of(platform .. ":" .. turn.uid)
  local time = math.floor(number_in(redis.call("GET", clock), 0))
  local tag = time
  if not first then
    tag = math.max(time, math.floor(number_in(redis.call("GET", person), 0))) + 1
    redis.call("SET", person, string.format("%.0f", tag), "EX", 3600)
  end
  redis.call("ZADD", ready, string.format("%.9f", tag + (first and 0 or now() % 86400000 / 1e9)), lane) -- by arrival among equal tags
  redis.call("EXPIRE", ready, UNFINISHED_TTL)
  wake_worker(platform)
end

-- Make a lane a suspect: an idle worker will claim it.
local function make_suspect(lane)
  local suspects = lanes_at("suspects", platform_of(lane))
  remove_from_place(lane)
  redis.call("HSET", state_of(lane), "epoch", "0")
  redis.call("ZADD", suspects, now(), lane)
  redis.call("EXPIRE", suspects, UNFINISHED_TTL)
  wake_worker(platform_of(lane))
end

-- Add to the note of a turn (it was stopped, edited or deleted), and signal its worker.
local function add_note(lane, turn, change)
  local state, field = state_of(lane), "note:" .. turn
  local noted = decode(redis.call("HGET", state, field)) or {}
  if change.text and number_in(noted.edited, 0) > number_in(change.edited, MAX_NUMBER) then
    change.text, change.edited, change.quotes = nil, nil, nil -- an edit older than the known one
  end
  if type(noted.stop) ~= "table" then
    noted.stop = nil
  end
  for name, value in pairs(change) do
    if name == "place" and type(noted.place) == "table" then
      for key, one in pairs(value) do
        noted.place[key] = one
      end
    elseif not (name == "stop" and noted.stop and noted.stop.remember == false) then -- nothing overrides a deletion
      noted[name] = value
    end
  end
  local good, text = pcall(cjson.encode, noted)
  redis.call("HSET", state, field, good and text or cjson.encode(change))
  redis.call("EXPIRE", state, UNFINISHED_TTL)
  redis.call("PUBLISH", PREFIX .. "signals", lane)
end

local function open_turn(turn, lane, job, token, before)
  local key = turn_of(turn)
  redis.call("HSET", key, "status", "open", "lane", lane, "job", job, "token", token, "before", before, "at", now())
  redis.call("EXPIRE", key, UNFINISHED_TTL)
end

-- Close a turn that has ended: threads that wait for it become ready.
local function close_turn(turn)
  local key = turn_of(turn)
  if redis.call("EXISTS", key) == 1 then
    redis.call("HSET", key, "status", "done")
    redis.call("HDEL", key, "lane") -- it may contain a person's id, and is not needed any more
    redis.call("EXPIRE", key, TURN_TTL)
  end
  local waiting = waiting_for(turn)
  for _, lane in ipairs(redis.call("SMEMBERS", waiting)) do
    if not has_place(lane) then
      make_ready(lane)
    end
  end
  redis.call("DEL", waiting)
end

-- Keep the note of a turn for its next attempt, which was submitted before this one ended; a stop counts for one attempt.
local function pass_note_on(lane, turn)
  local state, field = state_of(lane), "note:" .. turn
  local noted = decode(redis.call("HGET", state, field)) or {}
  if type(noted.stop) ~= "table" or noted.stop.remember ~= false then
    noted.stop = nil
    local good, text = pcall(cjson.encode, noted)
    redis.call("HSET", state, field, good and text or "{}")
  end
end

-- Fields of a lane's state that are about its first turns and their answer.
local FIRST_TURN_FIELDS = { "owner", "tries", "count", "intent", "refs", "text", "seal", "width", "limit", "tells" }

-- End a job that left its lane, and close its turn unless that was submitted again meanwhile.
local function end_job(lane, text)
  local job = job_in(text)
  local turn = job.turn.id
  for scope in string.gmatch(job.scopes, "%S+") do
    redis.call("ZREM", quota_of(scope, "open"), turn, job.id) -- a retried turn is counted by attempt
  end
  if turn == "" then
    return
  elseif (redis.call("HGET", turn_of(turn), "job") or job.id) == job.id then
    redis.call("HDEL", state_of(lane), "note:" .. turn)
    close_turn(turn)
  else
    pass_note_on(lane, turn)
  end
end

-- Make a lane ready for its next turn. ``last`` names the job that ended, for a worker that repeats its call.
local function advance(lane, last)
  local state = state_of(lane)
  redis.call("HDEL", state, unpack(FIRST_TURN_FIELDS))
  redis.call("HSET", state, "last", last, "epoch", "0")
  remove_from_place(lane)
  if redis.call("LLEN", inbox_of(lane)) > 0 then
    redis.call("EXPIRE", state, UNFINISHED_TTL)
    make_ready(lane)
  else
    redis.call("EXPIRE", state, ENDED_LANE_TTL)
  end
end

-- End the first ``count`` jobs of a lane.
local function end_first_jobs(lane, count, last)
  for _ = 1, count do
    local job = redis.call("LPOP", inbox_of(lane))
    if job then
      end_job(lane, job)
    end
  end
  advance(lane, last)
end

-- A job with other messages of its reply. They are replaced in its text, where they come first, because cjson would
-- write an empty list as an object.
local function with_refs(job, refs)
  return (string.gsub(job, '^{"refs":%b[]', function() return '{"refs":' .. refs end))
end

-- Keep a turn for its Retry button for TURN_TTL, and drop older ones. Looking for them takes longer the more there are,
-- so among many it is done at every 16th only.
local function keep_for_retry(key, turn, job)
  local count = redis.call("HLEN", key)
  if count <= 16 or count % 16 == 0 then
    local kept = redis.call("HGETALL", key)
    for index = 1, #kept, 2 do
      local since = number_in(string.match(kept[index + 1], '"since":([%d.]+)'), 0)
      if since > 0 and since < now() / 1000 - TURN_TTL then
        redis.call("HDEL", key, kept[index])
      end
    end
  end
  redis.call("HSET", key, turn, job)
  redis.call("EXPIRE", key, TURN_TTL)
end

-- Whether a job can be appended to a lane.
local function is_answerable(text)
  local turn = job_in(text).turn
  return turn.id ~= "" and turn.lane ~= ""
end

-- Append a job to its lane.
local function append_job(text, token)
  local job = job_in(text)
  local turn = job.turn
  open_turn(turn.id, turn.lane, job.id, token, redis.call("LLEN", inbox_of(turn.lane)))
  redis.call("RPUSH", inbox_of(turn.lane), text)
  redis.call("EXPIRE", inbox_of(turn.lane), UNFINISHED_TTL)
  if not has_place(turn.lane) then
    make_ready(turn.lane)
  end
end

-- Copy an entry of a lane to the dead letters. If it is JSON, an operator can replay it from there.
local function move_to_dead_letters(lane, job, why, refs)
  local tries = count_in(state_of(lane), "tries")
  if decode(job) and string.sub(job, 1, 1) == "{" then
    if refs and decode(refs) and string.sub(refs, 1, 1) == "[" then
      job = with_refs(job, refs)
    end
    add_dead_letter(tries, why, ',"job":' .. job)
  else
    add_unreadable_entry(why, PREFIX .. "lane:" .. lane .. ":inbox", job, tries)
  end
end

-- Copy the first jobs of a lane to the dead letters, with the messages of their reply so far.
local function move_first_to_dead_letters(lane, count, why)
  local refs = redis.call("HGET", state_of(lane), "refs")
  for index, job in ipairs(redis.call("LRANGE", inbox_of(lane), 0, count - 1)) do
    move_to_dead_letters(lane, job, why, index == count and refs)
  end
end

-- Move unreadable entries at a lane's beginning to the dead letters. Returns the first readable job, and its version.
local function first_readable_job(lane)
  local inbox, taken = inbox_of(lane), false
  while true do
    local text = redis.call("LINDEX", inbox, 0)
    if not text then
      break
    end
    local job, version = read_job(text)
    if job then
      if taken then
        redis.call("HDEL", state_of(lane), unpack(FIRST_TURN_FIELDS))
      end
      return job, version
    end
    move_to_dead_letters(lane, text, version)
    redis.call("LPOP", inbox)
    taken = true
  end
  if taken then
    advance(lane, "")
  end
end
