-- One budget of platform calls, for all processes: a bucket into which they come one after the other, or a window, in
-- which each is free again so long after it was made. Each process tells how many calls it has made in all and how many
-- it keeps reserved, and for whom it waits; what was granted to it and not made comes back by that. So a call to this
-- script may be repeated, lost, or come late, and costs nothing but freshness. A process that is not heard of any more
-- loses what it had reserved. Who waits longest is first, in whatever process.
--
-- Of a window, a call counts from when it was made, as its process tells, and until then what was granted is reserved:
-- so however long an answer is on its way, no more calls are made in any window than it allows. And since it is known
-- when calls are free again, those that will be in a moment are granted before, so that nobody has to ask at that time.
--
-- KEYS  budget
-- ARGV  process, capacity, calls that come in each second, ms after which a call is free again (0: it is a bucket),
--       how often the process has asked, calls it has made in all, of these not yet told, free calls as far as it
--       knows, calls it keeps reserved, ms since it asked (-1: never), ms for which the platform refuses (0: it does
--       not), time in ms ("": that of the server), ms to live of a process, ms between two questions at the most,
--       of a window: ms since each call that is not told was made, oldest first (text), number of spares, spares…,
--       then for each who waits: ms so far, "1" to reserve or "0" to call
-- returns  waiting ones served, spares granted, ms to wait (-1: nobody waits), calls free before this (text),
--          ms for which the platform refuses, calls counted for the process, calls reserved for it, and for each
--          further one that is served in a moment, in how many ms
local budget, me = of_kind("hash", KEYS[1]), "of:" .. ARGV[1]
local capacity, per_ms, window = tonumber(ARGV[2]), tonumber(ARGV[3]) / 1000, tonumber(ARGV[4])
local asked, made, untold, known = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local held, passed, refused = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local life, poll, spares, first = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[16]), 17 + tonumber(ARGV[16])
local sliding = window > 0
local TIE = 20 -- who began to wait within so many ms of each other began at once: times are told over a network
local GRACE = 1000 -- a process keeps its place in line for so many ms after it should have come
local EARLY = 500 -- calls of a window are granted so many ms before they are free
local MOST_LATE = 100000 -- calls by which a call to this script may come late
local SLACK = 1000 -- a call to this script may take so many ms longer than the one before
local LONGEST_REFUSAL = 3600000 -- no platform refuses for more ms than that
local DUST = 1e-6 -- less than this of a call is rounding

local time = redis.call("TIME")
local now = tonumber(ARGV[12]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local state, others, past = {}, {}, ""
local fields = redis.call("HGETALL", budget)
for index = 1, #fields, 2 do
  if string.sub(fields[index], 1, 3) == "of:" then
    others[fields[index]] = fields[index + 1]
  elseif fields[index] == "past" then
    past = fields[index + 1]
  else
    state[fields[index]] = number_in(fields[index + 1])
  end
end

-- The budget's own clock does not go back when the server's does, and forward no further than this process's did.
local elapsed = math.max(0, now - (state.at or now))
if passed >= 0 then
  elapsed = math.min(elapsed, passed + SLACK)
end
local clock = (state.clock or 0) + elapsed
local blocked = math.min(state.blocked or 0, clock + LONGEST_REFUSAL)

local counted, latest
local elsewhere, ahead = 0, {}
for name, record in pairs(others) do
  local number, calls, reserved, seen, since, due = string.match(record, "(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)")
  number, calls, reserved, seen = number_in(number), number_in(calls), number_in(reserved), number_in(seen)
  if not (number and calls and reserved and seen) or seen > clock or reserved < 0 or reserved > 2 * capacity then
    redis.call("HDEL", budget, name) -- nothing that this script wrote
  elseif name == me then
    latest, counted = number, calls
  elseif clock - seen > life then
    redis.call("HDEL", budget, name)
  else
    elsewhere = elsewhere + reserved
    since, due = number_in(since), number_in(due, 0)
    if since and clock <= due then
      ahead[#ahead + 1] = since
    end
  end
end
if latest and asked < latest and latest - asked < MOST_LATE then
  return { 0, 0, -1, "0", 0, 0, 0, {} } -- late, and nobody waits for the answer
end

-- The calls that a window remembers, oldest first: when, and how many.
local times, counts, used = {}, {}, 0
for at, calls in string.gmatch(past, "(%d+):(%d+)") do
  at, calls = number_in(at, -window), number_in(calls, 0)
  if at <= clock and clock - at <= window then
    times[#times + 1], counts[#counts + 1], used = at, calls, used + calls
  end
end

-- Account for calls that were made now, or so many ms ago.
local function count(more, age)
  more = math.min(more, 2 * capacity - used)
  if more > 0 then
    local at, place = clock - (age or 0), #times + 1
    while times[place - 1] and times[place - 1] > at do
      place = place - 1
    end
    table.insert(times, place, at)
    table.insert(counts, place, more)
    used = used + more
  end
end

-- Calls that were given back may have been any of a window, so they were the oldest.
local function give_back(many)
  while many > 0 and times[1] do
    local back = math.min(many, counts[1])
    counts[1], used, many = counts[1] - back, used - back, many - back
    if counts[1] == 0 then
      table.remove(times, 1)
      table.remove(counts, 1)
    end
  end
end

local news = counted and made - counted or math.max(0, untold)
local calls
if sliding then
  give_back(-news)
  local ages = {}
  for age in string.gmatch(ARGV[15], "%d+") do
    ages[#ages + 1] = tonumber(age)
  end
  if not state.calls then
    count(capacity - known) -- new, or Redis lost it: no more than the process believes to be there
    news = 0
  end
  for index = #ages - news + 1, #ages do
    local age = ages[index] or 0
    if age <= window then
      count(1, age)
    end
  end
  calls = capacity - used
elseif not state.calls then
  calls = math.min(capacity, known) -- new, or Redis lost it: no more than the process believes to be there
else
  calls = math.min(capacity, state.calls + elapsed * per_ms) - news
end
calls = math.max(-capacity, math.min(capacity, calls))
if refused > 0 then
  blocked = math.max(blocked, clock + refused)
  local left = math.min(calls, elsewhere + held)
  if sliding then
    count(calls - left)
  end
  calls = left
end

-- ms until so many more calls are free.
local function until_free(missing)
  if not sliding then
    return math.ceil(missing / per_ms)
  end
  for index, at in ipairs(times) do
    missing = missing - counts[index]
    if missing <= DUST then
      return at + window + 1 - clock
    end
  end
  return poll
end

local before = calls - elsewhere
local free = before - held
local served, granted, wait, since, soon = 0, 0, -1, "-", {}
for index = first, #ARGV, 2 do
  local from, earlier = clock - tonumber(ARGV[index]), 0
  for _, other in ipairs(ahead) do
    if other < from - TIE then
      earlier = earlier + 1
    end
  end
  local missing = 1 + earlier - free
  local short = blocked > clock and blocked - clock or missing > DUST and until_free(missing) or 0
  if short > 0 and (not sliding or short > EARLY or blocked > clock) then
    since = from
    if blocked <= clock then
      short = math.min(poll, math.max(1, sliding and short - EARLY or short))
    end
    wait = short
    break
  end
  if short > 0 then
    soon[#soon + 1] = short
  else
    served = served + 1
  end
  free = free - 1
  if sliding or ARGV[index + 1] == "1" then
    held = held + 1
  else
    calls, made = calls - 1, made + 1
  end
end
if blocked <= clock and wait < 0 and #ahead == 0 and #soon == 0 then
  for index = 17, 16 + spares do
    local wanted = tonumber(ARGV[index])
    if free - wanted < -DUST then
      break
    end
    granted, free = granted + 1, free - wanted
    if sliding then
      held = held + wanted
    else
      calls, made = calls - wanted, made + wanted
    end
  end
end

local due = wait < 0 and "-" or string.format("%.0f", clock + wait + GRACE)
local from = since == "-" and since or string.format("%.0f", since)
local record = string.format("%.0f %.0f %.0f %.0f %s %s", asked, made, held, clock, from, due)
redis.call("HSET", budget, "calls", calls, "at", now, "clock", clock, "blocked", blocked, me, record)
if sliding then
  for index, at in ipairs(times) do
    times[index] = string.format("%.0f:%.0f", at, counts[index])
  end
  redis.call("HSET", budget, "past", table.concat(times, " "))
end
local refill = sliding and window or (capacity - math.min(calls, capacity)) / per_ms
redis.call("PEXPIRE", budget, string.format("%.0f", math.ceil(math.max(refill, blocked - clock, life)) + 60000))
return { served, granted, math.ceil(wait), string.format("%.9f", before), math.ceil(math.max(0, blocked - clock)), made, held, soon }
