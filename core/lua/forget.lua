-- Forget a conversation and the threads that branched off it, with what they copied from it. The epoch stays and moves
-- on, so that an answer that is being written while this happens is not stored afterwards.
--
-- KEYS  messages, state, forks, retries
-- ARGV  prefix of conversations' keys, seconds to live of what stays
-- returns  number of messages forgotten
local prefix, ttl, forgotten = ARGV[1], ARGV[2], 0

local function forget(messages, state, retries)
  forgotten = forgotten + redis.call("LLEN", messages)
  local epoch = tonumber(redis.call("HGET", state, "epoch") or "0")
  redis.call("DEL", messages, state, retries)
  redis.call("HSET", state, "epoch", epoch + 1)
  redis.call("EXPIRE", state, ttl)
end

for _, fork in ipairs(redis.call("SMEMBERS", KEYS[3])) do
  forget(prefix .. fork .. ":messages", prefix .. fork .. ":state", prefix .. fork .. ":retries")
end
forget(KEYS[1], KEYS[2], KEYS[4])
redis.call("DEL", KEYS[3])
return forgotten
