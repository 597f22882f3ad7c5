-- What the scripts of the queue share. A lane is a line of turns that are answered one after another; its name begins
-- with the platform. While turns wait in its inbox, a lane stands in exactly one place:
--   ready:<platform>     a worker may take it; the score says whose turn it is
--   held:<platform>      a worker has it; the score says until when (milliseconds of Redis's clock)
--   suspects:<platform>  workers died with its first turn twice; one takes it alone
--   turn:<root>/waiting  its first turn stands in a thread whose root is still being answered
local P = "{parley}:"
local TTL = 7 * 86400 -- seconds that unfinished work is kept when nobody works
local TURN_TTL = 86400 -- seconds that a turn is remembered: no platform delivers an event again later than that
local COMPANY = 2 -- tries of a turn beside others; who takes it after that takes it alone
local SETTLED_TTL = 600 -- seconds in which a worker that was away may still ask how its turn ended

local function now()
  local time = redis.call("TIME")
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function inbox_of(lane) return P .. "lane:" .. lane .. ":inbox" end
local function state_of(lane) return P .. "lane:" .. lane .. ":state" end
local function turn_of(turn) return P .. "turn:" .. turn end
local function platform_of(lane) return string.match(lane, "^[^:]*") end

-- One token wakes one worker; whoever leaves work behind puts it back.
local function ring(platform)
  local bell = P .. "bell:" .. platform
  if redis.call("EXISTS", bell) == 0 then
    redis.call("RPUSH", bell, "1")
    redis.call("EXPIRE", bell, TTL)
  end
end

local function leave(lane)
  local platform = platform_of(lane)
  redis.call("ZREM", P .. "ready:" .. platform, lane)
  redis.call("ZREM", P .. "held:" .. platform, lane)
  redis.call("ZREM", P .. "suspects:" .. platform, lane)
end

local function stands(lane)
  local platform = platform_of(lane)
  return redis.call("ZSCORE", P .. "ready:" .. platform, lane)
    or redis.call("ZSCORE", P .. "held:" .. platform, lane)
    or redis.call("ZSCORE", P .. "suspects:" .. platform, lane)
end

-- Let a lane be taken, in the order of fair queuing: each person's turns are a second apart on a clock that moves on
-- as turns are taken, so who asks twenty times at once stands behind whoever asks once.
local function make_ready(lane, first)
  leave(lane)
  local head = redis.call("LINDEX", inbox_of(lane), 0)
  if not head then
    return
  end
  local turn = cjson.decode(head).turn
  if turn.root ~= "" and turn.root ~= turn.id then
    local root = redis.call("HMGET", turn_of(turn.root), "status", "lane")
    if root[1] == "open" and root[2] ~= lane then
      local waiting = turn_of(turn.root) .. "/waiting"
      redis.call("SADD", waiting, lane)
      redis.call("EXPIRE", waiting, TTL)
      return
    end
  end
  local platform = platform_of(lane)
  local ready, clock = P .. "ready:" .. platform, P .. "clock:" .. platform
  local person = P .. "clock:" .. platform .. ":" .. turn.uid
  local time = math.floor(tonumber(redis.call("GET", clock) or "0"))
  local tag = time
  if not first then
    tag = math.max(time, tonumber(redis.call("GET", person) or "0")) + 1
    redis.call("SET", person, tag, "EX", 3600)
  end
  redis.call("ZADD", ready, tag + (first and 0 or now() % 86400000 / 1e9), lane) -- who came first, among equals
  redis.call("EXPIRE", ready, TTL)
  ring(platform)
end

-- Let a lane be taken by somebody who has nothing else to do.
local function suspect(lane)
  local suspects = P .. "suspects:" .. platform_of(lane)
  leave(lane)
  redis.call("HSET", state_of(lane), "epoch", "0")
  redis.call("ZADD", suspects, now(), lane)
  redis.call("EXPIRE", suspects, TTL)
  ring(platform_of(lane))
end

-- Add to what became known of a turn since it was stored, and tell whoever answers it.
local function add_note(lane, turn, change)
  local state, field = state_of(lane), "note:" .. turn
  local noted = cjson.decode(redis.call("HGET", state, field) or "{}")
  for name, value in pairs(change) do
    if name == "place" and noted.place then
      for key, one in pairs(value) do
        noted.place[key] = one
      end
    elseif not (name == "stop" and noted.stop and noted.stop.remember == false) then -- a deletion is the last word
      noted[name] = value
    end
  end
  redis.call("HSET", state, field, cjson.encode(noted))
  redis.call("EXPIRE", state, TTL)
  redis.call("PUBLISH", P .. "signals", lane)
end

local function open_turn(turn, lane, job, token, before)
  local key = turn_of(turn)
  redis.call("HSET", key, "status", "open", "lane", lane, "job", job, "token", token, "before", before)
  redis.call("EXPIRE", key, TTL)
end

-- A turn is done with: threads that hang on it may go on.
local function close_turn(turn)
  local key = turn_of(turn)
  if redis.call("EXISTS", key) == 1 then
    redis.call("HSET", key, "status", "done")
    redis.call("EXPIRE", key, TURN_TTL)
  end
  for _, lane in ipairs(redis.call("SMEMBERS", key .. "/waiting")) do
    if not stands(lane) then
      make_ready(lane)
    end
  end
  redis.call("DEL", key .. "/waiting")
end

-- A turn was asked again before its last attempt was done with: what is known of it is for the next one, but for a stop.
local function pass_on(lane, turn)
  local state, field = state_of(lane), "note:" .. turn
  local noted = cjson.decode(redis.call("HGET", state, field) or "{}")
  if noted.stop and noted.stop.remember ~= false then
    noted.stop = nil
    redis.call("HSET", state, field, cjson.encode(noted))
  end
end

-- Take the first ``count`` turns off a lane; ``last`` is remembered for a worker that asks again.
local function finish(lane, count, last)
  local inbox, state = inbox_of(lane), state_of(lane)
  local fields = { "owner", "tries", "count", "intent", "refs", "text", "seal" }
  for _ = 1, count do
    local job = redis.call("LPOP", inbox)
    if job then
      local stored = cjson.decode(job)
      for scope in string.gmatch(stored.scopes, "%S+") do
        redis.call("ZREM", P .. "quota:" .. scope .. ":open", stored.turn.id)
      end
      if (redis.call("HGET", turn_of(stored.turn.id), "job") or stored.id) == stored.id then
        fields[#fields + 1] = "note:" .. stored.turn.id
        close_turn(stored.turn.id)
      else
        pass_on(lane, stored.turn.id)
      end
    end
  end
  redis.call("HDEL", state, unpack(fields))
  redis.call("HSET", state, "last", last, "epoch", "0")
  leave(lane)
  if redis.call("LLEN", inbox) > 0 then
    redis.call("EXPIRE", state, TTL)
    make_ready(lane)
  else
    redis.call("EXPIRE", state, SETTLED_TTL)
  end
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
      local since = tonumber(string.match(kept[index + 1], '"since":([%d.]+)') or "0")
      if since > 0 and since < now() / 1000 - TURN_TTL then
        redis.call("HDEL", key, kept[index])
      end
    end
  end
  redis.call("HSET", key, turn, job)
  redis.call("EXPIRE", key, TURN_TTL)
end

-- Put a job at the end of its lane again.
local function put_back(job, token)
  local turn = cjson.decode(job).turn
  open_turn(turn.id, turn.lane, cjson.decode(job).id, token, redis.call("LLEN", inbox_of(turn.lane)))
  redis.call("RPUSH", inbox_of(turn.lane), job)
  redis.call("EXPIRE", inbox_of(turn.lane), TTL)
  if not stands(turn.lane) then
    make_ready(turn.lane)
  end
end

-- Put the first turns of a lane where an operator finds them, with the messages of the reply as far as it came.
local function bury(lane, count, why, most)
  local dead = P .. "dead"
  local known = redis.call("HMGET", state_of(lane), "tries", "refs")
  local tries = known[1] or "0"
  for index = 0, count - 1 do
    local job = redis.call("LINDEX", inbox_of(lane), index)
    if job then
      if index == count - 1 and known[2] and known[2] ~= "" then
        job = with_refs(job, known[2])
      end
      local text = '{"v":1,"at":' .. string.format("%.3f", now() / 1000) .. ',"tries":' .. tries
      text = text .. ',"why":' .. cjson.encode(why) .. ',"job":' .. job .. "}"
      redis.call("RPUSH", dead, text)
    end
  end
  redis.call("LTRIM", dead, -most, -1)
  redis.call("EXPIRE", dead, 30 * 86400)
end
