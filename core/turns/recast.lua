-- Change a kept turn, or bring one key of an older store into today's form, if it still stands there as it was read.
--
-- KEYS  a turn, which was a string, or the kept turns of a conversation
-- ARGV  of kept turns: field, value as it was read, value to stand there instead
-- returns  1 if it was changed
local key = KEYS[1]
if #ARGV == 0 then
  if redis.call("TYPE", key).ok ~= "string" then
    return 0
  end
  local token, ttl = redis.call("GET", key), redis.call("PTTL", key)
  redis.call("DEL", key)
  redis.call("HSET", key, "status", "done", "token", token, "before", 0)
  redis.call("PEXPIRE", key, ttl > 0 and ttl or 86400000)
  return 1
end
if redis.call("HGET", of_kind("hash", key), ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call("HSET", key, ARGV[1], ARGV[3])
return 1
