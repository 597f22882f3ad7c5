-- Write down where a reply stands, for whoever goes on with it: that a message is about to be posted, that it was, or
-- how the answer ends. With the end, the turn is kept for its Retry button.
--
-- KEYS  kept turns of the conversation
-- ARGV  lane, epoch, milliseconds of a lease, job to keep ("" for none), its turn's id, then field, value…
-- returns  1; 0 if another worker has the lane
local lane, epoch, lease, kept, turn = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local state = state_of(lane)
if redis.call("HGET", state, "epoch") ~= epoch then
  return 0
end
redis.call("HSET", state, unpack(ARGV, 6))
redis.call("ZADD", lanes_at("held", platform_of(lane)), now() + lease, lane)
if kept ~= "" then
  keep(of_kind("hash", KEYS[1]), turn, kept)
end
return 1
