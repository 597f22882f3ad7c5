-- How much waits. Only reads, and looks into no more than so many messages, whatever waits.
--
-- takes    dead: the key of the dead letters; most: first turns to look into for the oldest; platforms
-- returns  {turns that wait, seconds that the oldest one has waited that nobody works at ("0" if there is none), dead letters}
local time, waiting, oldest = now(), 0, 0

local function look(lanes, attended)
  for _, lane in ipairs(lanes) do
    waiting = waiting + redis.call("LLEN", inbox_of(lane))
    if attended then
      -- What is being answered does not wait.
      waiting = waiting - math.min(count_in(state_of(lane), "count"), redis.call("LLEN", inbox_of(lane)))
    elseif most > 0 then
      most = most - 1
      local head = redis.call("LINDEX", inbox_of(lane), 0)
      local turn = head and job_in(head).turn
      local at = turn and number_in(turn.at, 0)
      if turn and turn.attempt == 0 and at > 0 then -- one that is asked again is as old as its question
        oldest = math.max(oldest, time / 1000 - at)
      end
    end
  end
end

for _, platform in ipairs(platforms) do
  local held = lanes_at("held", platform)
  look(redis.call("ZRANGE", lanes_at("ready", platform), 0, -1), false)
  look(redis.call("ZRANGE", lanes_at("suspects", platform), 0, -1), false)
  look(redis.call("ZRANGEBYSCORE", held, "-inf", time), false)
  look(redis.call("ZRANGEBYSCORE", held, "(" .. time, "+inf"), true)
end
return { waiting, string.format("%.3f", oldest), redis.call("LLEN", of_kind("list", dead)) }
