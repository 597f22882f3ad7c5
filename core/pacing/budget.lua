-- One budget of platform calls, shared by all processes: a token bucket, or a sliding window. Each call takes a slot,
-- which is free again at its release time: of a bucket one after the other, of a window all in the same time.
--
-- A process tells how many calls it has made in all, how many it keeps reserved, and for whom it waits. What was granted
-- to it beyond that comes back. So a request may be repeated, lost, or come late, and costs nothing but freshness. A
-- process that is silent for too long loses its reservations. The longest wait is served first, in any process.
--
-- A call of a window counts from when it was made, as its process tells; until then it is reserved. So however long an
-- answer takes, no window has more calls than it allows. Slots that will be free in a moment are granted before that,
-- so that nobody has to ask again at that time.
--
-- takes key; name: the process; request:
--         capacity, per_second (of a bucket), window (ms; 0: it is a bucket),
--         number of the request, made (calls in all), unreported (those that were never reported),
--         ages (of a window: ms since each unreported call, oldest first), free (slots, as far as the process knows),
--         reserved, passed (ms since its last request; -1: none), refused (ms for which the platform refuses; 0: none),
--         life (ms that a silent process keeps its reservations), poll (ms between two requests at the most),
--         time (ms; absent: the server's), spares (sizes of what is taken only if nobody waits),
--         waiters ([ms waited so far, 1 to reserve or 0 to call], first in line first)
-- returns JSON:
--         served (waiters), soon (ms until each further waiter is served), granted (spares),
--         wait (ms to the next request; -1: nobody waits), blocked (ms for which the platform refuses),
--         made, reserved (as counted for the process), releases (ms until each taken slot is free, before this),
--         elsewhere (slots that other processes keep reserved)
local budget, process = of_type("hash", key), "of:" .. name
local capacity, window, poll = request.capacity, request.window, request.poll
local made, reserved = request.made, request.reserved
local sliding = window > 0
local spacing = sliding and 0 or 1000 / request.per_second -- ms between two calls that come into a bucket
local TIE = 20 -- two who began to wait within so many ms began at once: times are told over a network
local GRACE = 1000 -- a process keeps its place in line for so many ms after it should have come
local EARLY = 500 -- slots of a window are granted so many ms before they are free
local MAX_LATE_REQUESTS = 100000 -- a request that is older than this is from another life of its process
local CLOCK_SLACK = 1000 -- a request may take so many ms longer than the one before
local MAX_REFUSAL = 3600000 -- no platform refuses for more ms than that

local time = redis.call("TIME")
local now = request.time or (time[1] * 1000 + math.floor(time[2] / 1000))
local state, records = {}, {}
local fields = redis.call("HGETALL", budget)
for index = 1, #fields, 2 do
  local to = string.sub(fields[index], 1, 3) == "of:" and records or state
  to[fields[index]] = fields[index + 1]
end

-- The budget's own clock never goes back, even if the server's does, and runs no faster than this process's.
local elapsed = math.max(0, now - number_in(state.at, now))
if request.passed >= 0 then
  elapsed = math.min(elapsed, request.passed + CLOCK_SLACK)
end
local clock = math.max(0, number_in(state.clock, 0)) + elapsed
local blocked = number_in(state.blocked, 0)
if blocked > clock + MAX_REFUSAL then
  blocked = 0 -- this script did not write that
end

-- What other processes keep reserved, and since when their first waiters wait.
local counted, latest
local elsewhere, ahead = 0, {}
for name, record in pairs(records) do
  local number, calls, kept, seen, since, due = string.match(record, "^(%d+) (%d+) (%d+) (%d+) (%S+) (%S+)$")
  number, calls, kept, seen = number_in(number), number_in(calls), number_in(kept), number_in(seen)
  if not (number and calls and kept and seen) or seen > clock or kept > 2 * capacity then
    redis.call("HDEL", budget, name) -- this script did not write that
  elseif name == process then
    latest, counted = number, calls
  elseif clock - seen > request.life then
    redis.call("HDEL", budget, name)
  else
    elsewhere = elsewhere + kept
    since = number_in(since)
    if since and clock <= number_in(due, 0) then
      ahead[#ahead + 1] = since
    end
  end
end
if latest and request.number < latest and latest - request.number < MAX_LATE_REQUESTS then
  return "{}" -- late, and nobody waits for the answer
end

-- When the slots are free again that are taken, soonest first.
local releases, longest = {}, sliding and window + 1 or 2 * capacity * spacing
for release in string.gmatch(state.releases or "", "%S+") do
  release = number_in(release, 0)
  local sorted = release >= (releases[#releases] or clock + 0.001)
  if sorted and release <= clock + longest and #releases < 2 * capacity then
    releases[#releases + 1] = release
  end
end

local function take(calls, at)
  for _ = 1, math.min(calls, 2 * capacity - #releases) do
    local release = sliding and at + window + 1 or math.max(at, releases[#releases] or 0) + spacing
    local place = #releases + 1
    while place > 1 and releases[place - 1] > release do
      place = place - 1
    end
    table.insert(releases, place, release)
  end
end

local news = counted and made - counted or math.max(0, request.unreported)
if not state.releases then
  take(capacity - request.free, clock) -- new, or Redis lost it: no more than the process believes to be free
elseif news < 0 then
  for _ = 1, math.min(-news, #releases) do
    table.remove(releases, sliding and 1 or #releases) -- given back; any of a window, so it was the oldest
  end
elseif sliding then
  for index = #request.ages - news + 1, #request.ages do
    local age = request.ages[index] or 0
    if age <= window then
      take(1, clock - age)
    end
  end
else
  take(news, clock)
end
if request.refused > 0 then
  blocked = math.max(blocked, clock + math.min(request.refused, MAX_REFUSAL))
  take(capacity - #releases - elsewhere - reserved, clock)
end
local release_waits = {}
for index, release in ipairs(releases) do
  release_waits[index] = math.ceil(release - clock)
end

local free = capacity - #releases - elsewhere - reserved
local served, granted, wait, since, soon = 0, 0, -1, "-", {}
for _, waiter in ipairs(request.waiters) do
  local from, earlier = clock - waiter[1], 0
  for _, other in ipairs(ahead) do
    if other < from - TIE then
      earlier = earlier + 1
    end
  end
  local missing, short = 1 + earlier - free, 0
  if blocked > clock then
    short = blocked - clock
  elseif missing > 0 then
    short = releases[missing] and math.ceil(releases[missing] - clock) or poll
  end
  if short > 0 and (not sliding or short > EARLY or blocked > clock) then
    since = string.format("%.0f", from)
    wait = blocked > clock and short or math.min(poll, math.max(1, sliding and short - EARLY or short))
    break
  end
  if short > 0 then
    soon[#soon + 1] = short
  else
    served = served + 1
  end
  free = free - 1
  if sliding or waiter[2] == 1 then
    reserved = reserved + 1
  else
    take(1, clock)
    made = made + 1
  end
end
if blocked <= clock and wait < 0 and #ahead == 0 and #soon == 0 then
  for _, calls in ipairs(request.spares) do
    if free < calls then
      break
    end
    granted, free = granted + 1, free - calls
    if sliding then
      reserved = reserved + calls
    else
      take(calls, clock)
      made = made + calls
    end
  end
end

local due = wait < 0 and "-" or string.format("%.0f", clock + wait + GRACE)
local record = string.format("%.0f %.0f %.0f %.0f %s %s", request.number, made, reserved, clock, since, due)
local last = releases[#releases] or clock
for index, release in ipairs(releases) do
  releases[index] = string.format("%.3f", release)
end
local stored = table.concat(releases, " ")
redis.call("HSET", budget, "releases", stored, "at", now, "clock", clock, "blocked", blocked, process, record)
redis.call("PEXPIRE", budget, string.format("%.0f", math.ceil(math.max(last, blocked, clock + request.life) - clock) + 60000))
return cjson.encode({
  served = served,
  soon = soon,
  granted = granted,
  wait = math.ceil(wait),
  blocked = math.ceil(math.max(0, blocked - clock)),
  made = made,
  reserved = reserved,
  releases = release_waits,
  elsewhere = elsewhere,
})
