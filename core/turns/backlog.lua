-- How many turns wait, and for how long. Read-only; it looks into ``most`` messages at most.
--
-- takes    dead: the key of the dead letters; most: first turns to look into for the oldest; platforms
-- returns  {turns that wait, seconds that the oldest one has waited that nobody works at ("0" if there is none), dead letters}
local time, waiting, oldest = now(), 0, 0

local function count_lanes(lanes, attended)
  for _, lane in ipairs(lanes) do
    waiting = waiting + redis.call("LLEN", inbox_of(lane))
    if attended then
      -- Turns that are being answered do not wait.
      waiting = waiting - math.min(count_in(state_of(lane), "count"), redis.call("LLEN", inbox_of(lane)))
    elseif most > 0 then
      most = most - 1
      local head = redis.call("LINDEX", inbox_of(lane), 0)
      local turn = head and job_in(head).turn
      local at = turn and number_in(turn.at, 0)
      if turn and turn.attempt == 0 and at > 0 then -- not for retried turns, which are as old as their question
        oldest = math.max(oldest, time / 1000 - at)
      end
    end
  end
end

for _, platform in ipairs(platforms) do
  local held = lanes_at("held", platform)
  count_lanes(redis.call("ZRANGE", lanes_at("ready", platform), 0, -1), false)
  count_lanes(redis.call("ZRANGE", lanes_at("suspects", platform), 0, -1), false)
  count_lanes(redis.call("ZRANGEBYSCORE", held, "-inf", time), false)
  count_lanes(redis.call("ZRANGEBYSCORE", held, "(" .. time, "+inf"), true)
end
return { waiting, string.format("%.3f", oldest), redis.call("LLEN", of_type("list", dead)) }
