-- One bucket of platform calls, for all processes. Each tells how many calls it has made in all and how many it keeps
-- reserved, and for whom it waits; what was granted to it and not made comes back by that. So a call to this script may
-- be repeated, lost, or come late, and costs nothing but freshness. A process that is not heard of any more loses what
-- it had reserved. Who waits longest is first, in whatever process.
--
-- KEYS  bucket
-- ARGV  process, capacity, calls that come in each second, how often the process has asked, calls it has made in all,
--       of these not yet told, free calls as far as it knows, calls it keeps reserved, ms since it asked (-1: never),
--       ms for which the platform refuses (0: it does not), time in ms ("": that of the server),
--       ms to live of a process, ms between two questions at the most, number of spares, spares…,
--       then for each who waits: ms so far, "1" to reserve or "0" to call
-- returns  waiting ones served, spares granted, ms to wait (-1: nobody waits), calls free before this (text),
--          ms for which the platform refuses, calls counted for the process, calls reserved for it
local bucket, me = KEYS[1], "of:" .. ARGV[1]
local capacity, per_ms = tonumber(ARGV[2]), tonumber(ARGV[3]) / 1000
local asked, made, untold, known = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local held, passed, refused = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local life, poll, spares, first = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14]), 15 + tonumber(ARGV[14])
local TIE = 20 -- who began to wait within so many ms of each other began at once: times are told over a network
local GRACE = 1000 -- a process keeps its place in line for so many ms after it should have come
local SLACK = 1000 -- a call to this script may take so many ms longer than the one before
local DUST = 1e-6 -- less than this of a call is rounding

local time = redis.call("TIME")
local now = tonumber(ARGV[11]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local state, others = {}, {}
local fields = redis.call("HGETALL", bucket)
for index = 1, #fields, 2 do
  if string.sub(fields[index], 1, 3) == "of:" then
    others[fields[index]] = fields[index + 1]
  else
    state[fields[index]] = tonumber(fields[index + 1])
  end
end

-- The bucket's own clock does not go back when the server's does, and forward no further than this process's did.
local elapsed = math.max(0, now - (state.at or now))
if passed >= 0 then
  elapsed = math.min(elapsed, passed + SLACK)
end
local clock = (state.clock or 0) + elapsed
local blocked = state.blocked or 0

local counted, latest
local elsewhere, ahead = 0, {}
for name, record in pairs(others) do
  local number, calls, reserved, seen, since, due = string.match(record, "(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)")
  if name == me then
    latest, counted = tonumber(number), tonumber(calls)
  elseif clock - seen > life then
    redis.call("HDEL", bucket, name)
  else
    elsewhere = elsewhere + reserved
    if since ~= "-" and clock <= tonumber(due) then
      ahead[#ahead + 1] = tonumber(since)
    end
  end
end
if latest and asked < latest then
  return { 0, 0, -1, "0", 0, 0, 0 } -- late, and nobody waits for the answer
end

local calls
if not state.calls then
  calls = math.min(capacity, known) -- new, or Redis lost it: no more than the process believes to be there
else
  calls = math.min(capacity, state.calls + elapsed * per_ms) - (counted and made - counted or math.max(0, untold))
end
calls = math.max(-capacity, math.min(capacity, calls))
if refused > 0 then
  blocked = math.max(blocked, clock + refused)
  calls = math.min(calls, elsewhere + held)
end

local before = calls - elsewhere
local free = before - held
local served, granted, wait, since = 0, 0, -1, "-"
for index = first, #ARGV, 2 do
  local from, earlier = clock - tonumber(ARGV[index]), 0
  for _, other in ipairs(ahead) do
    if other < from - TIE then
      earlier = earlier + 1
    end
  end
  local missing = 1 + earlier - free
  if blocked > clock or missing > DUST then
    since = from
    wait = blocked > clock and blocked - clock or math.min(poll, math.max(1, math.ceil(missing / per_ms)))
    break
  end
  served, free = served + 1, free - 1
  if ARGV[index + 1] == "1" then
    held = held + 1
  else
    calls, made = calls - 1, made + 1
  end
end
if blocked <= clock and wait < 0 and #ahead == 0 then
  for index = 15, 14 + spares do
    local wanted = tonumber(ARGV[index])
    if free - wanted < -DUST then
      break
    end
    granted, free, calls, made = granted + 1, free - wanted, calls - wanted, made + wanted
  end
end

local due = wait < 0 and "-" or string.format("%.0f", clock + wait + GRACE)
local from = since == "-" and since or string.format("%.0f", since)
local record = string.format("%.0f %.0f %.0f %.0f %s %s", asked, made, held, clock, from, due)
redis.call("HSET", bucket, "calls", calls, "at", now, "clock", clock, "blocked", blocked, me, record)
local refill = (capacity - math.min(calls, capacity)) / per_ms
redis.call("PEXPIRE", bucket, string.format("%.0f", math.ceil(math.max(refill, blocked - clock, life)) + 60000))
return { served, granted, math.ceil(wait), string.format("%.9f", before), math.ceil(math.max(0, blocked - clock)), made, held }
