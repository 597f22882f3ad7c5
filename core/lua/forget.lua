-- Forget a conversation and the threads that branched off it, with what they copied from it. The epoch stays and moves
-- on, so that an answer that is being written while this happens is not stored afterwards.
--
-- KEYS  messages, state, forks, retries, board
-- ARGV  prefix of conversations' keys, seconds to live of what stays, channel on which changed boards are told
-- returns  number of messages forgotten
local prefix, ttl, forgotten = ARGV[1], ARGV[2], 0

local function forget(messages, state, retries, board)
  forgotten = forgotten + redis.call("LLEN", of_kind("list", messages))
  local epoch = tonumber(epoch_in(state))
  if redis.call("UNLINK", board) == 1 then
    redis.call("PUBLISH", ARGV[3], board)
  end
  redis.call("UNLINK", messages, state, retries)
  redis.call("HSET", state, "epoch", string.format("%d", epoch + 1))
  redis.call("EXPIRE", state, ttl)
end

for _, fork in ipairs(redis.call("SMEMBERS", of_kind("set", KEYS[3]))) do
  local messages, state = prefix .. fork .. ":messages", prefix .. fork .. ":state"
  if redis.call("EXISTS", messages, state) > 0 then
    forget(messages, state, prefix .. fork .. ":retries", prefix .. fork .. ":board")
  else
    redis.call("SREM", KEYS[3], fork) -- it has expired
  end
end
forget(KEYS[1], KEYS[2], KEYS[4], KEYS[5])
-- The threads live on, and what is said there from now on is reached by the next time.
redis.call("EXPIRE", KEYS[3], ttl)
return forgotten
