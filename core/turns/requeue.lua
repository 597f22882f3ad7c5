-- Make a lane ready at once with its tries reset, even if a worker holds it.
--
-- takes    key: the turn's
-- returns  1; 0 if the turn is done with
local turn = redis.call("HMGET", of_type("hash", key), "status", "lane")
if turn[1] ~= "open" or not turn[2] then
  return 0
end
local state = state_of(turn[2])
redis.call("HSET", state, "epoch", "0", "tries", "0", "owner", "")
redis.call("HDEL", state, "width", "limit", "tells")
redis.call("EXPIRE", state, UNFINISHED_TTL)
make_ready(turn[2], true)
return 1
