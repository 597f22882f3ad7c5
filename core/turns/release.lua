-- Release a lane whose first turn has not ended: another worker continues with it, at once or after ``wait``.
--
-- takes    lane; epoch; wait: milliseconds; failed: whether this was a try that failed
-- returns  1; 0 if another worker has the lane
local state = state_of(lane)
if redis.call("HGET", state, "epoch") ~= epoch then
  return 0
end
redis.call("HSET", state, "epoch", "0", "owner", "")
local tries = math.max(0, count_in(state, "tries") - (failed and 0 or 1))
redis.call("HSET", state, "tries", tries)
if failed and tries >= MAX_FAILED_TRIES then
  redis.call("HSET", state, "limit", "0") -- it is given up
end
if wait > 0 then
  redis.call("ZADD", lanes_at("held", platform_of(lane)), now() + wait, lane)
elseif tries >= MAX_TRIES_WITH_OTHERS then
  make_suspect(lane)
else
  make_ready(lane, true)
end
return 1
