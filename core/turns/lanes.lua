-- What the scripts of the queue share. A lane is a line of turns that are answered one after another; its name begins
-- with the platform. While turns wait in its inbox, a lane stands in exactly one place:
--   ready:<platform>     a worker may take it; the score says whose turn it is
--   held:<platform>      a worker has it; the score says until when (milliseconds of Redis's clock)
--   suspects:<platform>  workers died with its first turn twice: see claim.lua
--   turn:<root>/waiting  its first turn stands in a thread whose root is still being answered
local P = "{parley}:"
local TTL = 7 * 86400 -- seconds that unfinished work is kept when nobody works
local TURN_TTL = 86400 -- seconds that a turn is remembered: no platform delivers an event again later than that
local COMPANY = 2 -- tries of a turn beside any others; after that it is a suspect
local FAULTS = 3 -- tries of a turn that fails and kills nobody, before it is given up
local SETTLED_TTL = 600 -- seconds in which a worker that was away may still ask how its turn ended

local function inbox_of(lane) return of_kind("list", P .. "lane:" .. lane .. ":inbox") end
local function state_of(lane) return of_kind("hash", P .. "lane:" .. lane .. ":state") end
local function turn_of(turn) return of_kind("hash", P .. "turn:" .. turn) end
local function waiting_for(turn) return of_kind("set", P .. "turn:" .. turn .. "/waiting") end
local function platform_of(lane) return string.match(lane, "^[^:]*") end
local function lanes_at(place, platform) return of_kind("zset", P .. place .. ":" .. platform) end
local function clock_of(platform) return of_kind("string", P .. "clock:" .. platform) end
local function quota_of(scope, what)
  return of_kind((what == "turns" or what == "open") and "zset" or "string", P .. "quota:" .. scope .. ":" .. what)
end

-- A field of a lane's state that counts something.
local function count_in(state, field, default)
  return math.max(0, math.floor(number_in(redis.call("HGET", state, field), default or 0)))
end

-- A stored job, and its version; nil and why, where it cannot be read. Of a newer version only that is known.
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

-- The same, where it does not matter why it cannot be read: with nothing in it then.
local function job_in(text)
  return read_job(text) or { id = "", scopes = "", turn = { id = "", lane = "", key = "", uid = "", root = "" } }
end

-- One token wakes one worker; whoever leaves work behind puts it back.
local function ring(platform)
  local bell = of_kind("list", P .. "bell:" .. platform)
  if redis.call("EXISTS", bell) == 0 then
    redis.call("RPUSH", bell, "1")
    redis.call("EXPIRE", bell, TTL)
  end
end

local function leave(lane)
  local platform = platform_of(lane)
  redis.call("ZREM", lanes_at("ready", platform), lane)
  redis.call("ZREM", lanes_at("held", platform), lane)
  redis.call("ZREM", lanes_at("suspects", platform), lane)
end

local function stands(lane)
  local platform = platform_of(lane)
  return redis.call("ZSCORE", lanes_at("ready", platform), lane)
    or redis.call("ZSCORE", lanes_at("held", platform), lane)
    or redis.call("ZSCORE", lanes_at("suspects", platform), lane)
end

-- Let a lane be taken, in the order of fair queuing: each person's turns are a second apart on a clock that moves on
-- as turns are taken, so who asks twenty times at once stands behind whoever asks once.
local function make_ready(lane, first)
  leave(lane)
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
      redis.call("EXPIRE", waiting, TTL)
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
  redis.call("ZADD", ready, string.format("%.9f", tag + (first and 0 or now() % 86400000 / 1e9)), lane) -- who came first, among equals
  redis.call("EXPIRE", ready, TTL)
  ring(platform)
end

-- Let a lane be taken by somebody who has nothing else to do.
local function suspect(lane)
  local suspects = lanes_at("suspects", platform_of(lane))
  leave(lane)
  redis.call("HSET", state_of(lane), "epoch", "0")
  redis.call("ZADD", suspects, now(), lane)
  redis.call("EXPIRE", suspects, TTL)
  ring(platform_of(lane))
end

-- Add to what became known of a turn since it was stored, and tell whoever answers it.
local function add_note(lane, turn, change)
  local state, field = state_of(lane), "note:" .. turn
  local noted = decode(redis.call("HGET", state, field)) or {}
  if change.text and number_in(noted.edited, 0) > number_in(change.edited, MOST_NUMBER) then
    change.text, change.edited = nil, nil -- it read so before it read as is known
  end
  if type(noted.stop) ~= "table" then
    noted.stop = nil
  end
  for name, value in pairs(change) do
    if name == "place" and type(noted.place) == "table" then
      for key, one in pairs(value) do
        noted.place[key] = one
      end
    elseif not (name == "stop" and noted.stop and noted.stop.remember == false) then -- a deletion is the last word
      noted[name] = value
    end
  end
  local good, text = pcall(cjson.encode, noted)
  redis.call("HSET", state, field, good and text or cjson.encode(change))
  redis.call("EXPIRE", state, TTL)
  redis.call("PUBLISH", P .. "signals", lane)
end

local function open_turn(turn, lane, job, token, before)
  local key = turn_of(turn)
  redis.call("HSET", key, "status", "open", "lane", lane, "job", job, "token", token, "before", before, "at", now())
  redis.call("EXPIRE", key, TTL)
end

-- A turn is done with: threads that hang on it may go on.
local function close_turn(turn)
  local key = turn_of(turn)
  if redis.call("EXISTS", key) == 1 then
    redis.call("HSET", key, "status", "done")
    redis.call("HDEL", key, "lane") -- it may bear the name of a person, and nobody asks for it any more
    redis.call("EXPIRE", key, TURN_TTL)
  end
  local waiting = waiting_for(turn)
  for _, lane in ipairs(redis.call("SMEMBERS", waiting)) do
    if not stands(lane) then
      make_ready(lane)
    end
  end
  redis.call("DEL", waiting)
end

-- A turn was asked again before its last attempt was done with: what is known of it is for the next one, but for a stop.
local function pass_on(lane, turn)
  local state, field = state_of(lane), "note:" .. turn
  local noted = decode(redis.call("HGET", state, field)) or {}
  if type(noted.stop) ~= "table" or noted.stop.remember ~= false then
    noted.stop = nil
    local good, text = pcall(cjson.encode, noted)
    redis.call("HSET", state, field, good and text or "{}")
  end
end

-- All that is known of the first turn of a lane and how its answer stands.
local OF_THE_TURN = { "owner", "tries", "count", "intent", "refs", "text", "seal", "width", "limit", "tells" }

-- A turn that left its lane is done with, unless it was asked again meanwhile.
local function end_job(lane, text)
  local job = job_in(text)
  local turn = job.turn.id
  for scope in string.gmatch(job.scopes, "%S+") do
    redis.call("ZREM", quota_of(scope, "open"), turn, job.id) -- one that was asked again is counted by attempts
  end
  if turn == "" then
    return
  elseif (redis.call("HGET", turn_of(turn), "job") or job.id) == job.id then
    redis.call("HDEL", state_of(lane), "note:" .. turn)
    close_turn(turn)
  else
    pass_on(lane, turn)
  end
end

-- Let what comes next in a lane be taken; ``last`` is remembered for a worker that asks again.
local function go_on(lane, last)
  local state = state_of(lane)
  redis.call("HDEL", state, unpack(OF_THE_TURN))
  redis.call("HSET", state, "last", last, "epoch", "0")
  leave(lane)
  if redis.call("LLEN", inbox_of(lane)) > 0 then
    redis.call("EXPIRE", state, TTL)
    make_ready(lane)
  else
    redis.call("EXPIRE", state, SETTLED_TTL)
  end
end

-- Take the first ``count`` turns off a lane.
local function finish(lane, count, last)
  for _ = 1, count do
    local job = redis.call("LPOP", inbox_of(lane))
    if job then
      end_job(lane, job)
    end
  end
  go_on(lane, last)
end

-- A job with other messages to write over; cjson would write an empty list as an object, so the list is put where it
-- stands: at the beginning.
local function with_refs(job, refs)
  return (string.gsub(job, '^{"refs":%b[]', function() return '{"refs":' .. refs end))
end

-- Keep a turn for its Retry button, for as long as platforms deliver again; those that are older go. To look for them
-- takes longer the more there are, so of many it is done now and then.
local function keep(key, turn, job)
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

-- Whether a job can be put into a lane.
local function answerable(text)
  local turn = job_in(text).turn
  return turn.id ~= "" and turn.lane ~= ""
end

-- Put a job at the end of its lane again.
local function put_back(text, token)
  local job = job_in(text)
  local turn = job.turn
  open_turn(turn.id, turn.lane, job.id, token, redis.call("LLEN", inbox_of(turn.lane)))
  redis.call("RPUSH", inbox_of(turn.lane), text)
  redis.call("EXPIRE", inbox_of(turn.lane), TTL)
  if not stands(turn.lane) then
    make_ready(turn.lane)
  end
end

-- Put an entry of a lane where an operator finds it; one that can be read as JSON can be answered again from there.
local function bury(lane, job, why, refs)
  local tries = count_in(state_of(lane), "tries")
  if decode(job) and string.sub(job, 1, 1) == "{" then
    if refs and decode(refs) and string.sub(refs, 1, 1) == "[" then
      job = with_refs(job, refs)
    end
    add_letter(tries, why, ',"job":' .. job)
  else
    add_unreadable(why, P .. "lane:" .. lane .. ":inbox", job, tries)
  end
end

-- Put the first turns of a lane there, with the messages of the reply as far as it came.
local function bury_first(lane, count, why)
  local refs = redis.call("HGET", state_of(lane), "refs")
  for index, job in ipairs(redis.call("LRANGE", inbox_of(lane), 0, count - 1)) do
    bury(lane, job, why, index == count and refs)
  end
end

-- Take unreadable entries off the beginning of a lane. Returns the first job that can be read, and its version.
local function first_job(lane)
  local inbox, taken = inbox_of(lane), false
  while true do
    local text = redis.call("LINDEX", inbox, 0)
    if not text then
      break
    end
    local job, version = read_job(text)
    if job then
      if taken then
        redis.call("HDEL", state_of(lane), unpack(OF_THE_TURN))
      end
      return job, version
    end
    bury(lane, text, version)
    redis.call("LPOP", inbox)
    taken = true
  end
  if taken then
    go_on(lane, "")
  end
end
