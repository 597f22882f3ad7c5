-- Store a summary, unless the conversation was forgotten or changed since it was loaded.
--
-- KEYS  state
-- ARGV  epoch, changes, summary, id of the last message in it, whose words it may tell (JSON)
-- returns  1 if stored
local epoch = epoch_in(KEYS[1])
local kept = redis.call("HMGET", KEYS[1], "epoch", "changes", "bytes")
if not kept[3] or epoch ~= ARGV[1] or (kept[2] or "0") ~= ARGV[2] then
  return 0
end
redis.call("HSET", KEYS[1], "summary", ARGV[3], "folded", ARGV[4], "voices", ARGV[5])
return 1
