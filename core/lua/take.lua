-- Take a kept turn, once. The client may send the call again when a connection breaks: the token tells its own.
--
-- KEYS  kept turns of a conversation, who took this one
-- ARGV  turn, token, seconds in which the call may be repeated
-- returns  the record, or nil
local taken = redis.call("HMGET", KEYS[2], "token", "record")
if taken[1] == ARGV[2] then
  return taken[2]
end
local record = redis.call("HGET", KEYS[1], ARGV[1])
if record then
  redis.call("HDEL", KEYS[1], ARGV[1])
  redis.call("DEL", KEYS[2])
  redis.call("HSET", KEYS[2], "token", ARGV[2], "record", record)
  redis.call("EXPIRE", KEYS[2], ARGV[3])
end
return record
