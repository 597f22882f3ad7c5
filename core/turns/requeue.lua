-- Take a lane from whoever has it and let it be taken at once, as if nothing had been tried.
--
-- takes    key: the turn's
-- returns  1; 0 if the turn is done with
local turn = redis.call("HMGET", of_kind("hash", key), "status", "lane")
if turn[1] ~= "open" or not turn[2] then
  return 0
end
local state = state_of(turn[2])
redis.call("HSET", state, "epoch", "0", "tries", "0", "owner", "")
redis.call("HDEL", state, "width", "limit", "tells")
redis.call("EXPIRE", state, TTL)
make_ready(turn[2], true)
return 1
