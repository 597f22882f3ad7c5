-- What stands in some keys, all at one moment.
--
-- takes    any keys
-- returns  milliseconds of Redis's clock, then for each key: type ("none" if there is none), milliseconds to live, values
local time = redis.call("TIME")
local found = { time[1] * 1000 + math.floor(time[2] / 1000) }
local read = {
  string = function(key) return { redis.call("GET", key) } end,
  list = function(key) return redis.call("LRANGE", key, 0, -1) end,
  hash = function(key) return redis.call("HGETALL", key) end,
  set = function(key) return redis.call("SMEMBERS", key) end,
  zset = function(key) return redis.call("ZRANGE", key, 0, -1, "WITHSCORES") end,
}
for _, key in ipairs(KEYS) do
  local kind = redis.call("TYPE", key).ok
  found[#found + 1] = { kind, redis.call("PTTL", key), read[kind] and read[kind](key) or {} }
end
return found
