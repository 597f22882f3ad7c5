-- Forget one conversation. The epoch stays and moves on, so that an answer that is being written while this happens is
-- not stored afterwards. A thread that is no more is taken off its channel's list.
--
-- KEYS  messages, state, forks of the channel, retries, board, and perhaps more that goes (settings, forks)
-- ARGV  seconds to live of what stays, channel on which changed boards are told, the conversation's name if it is not a
--       channel
-- returns  number of messages forgotten
local messages, state, forks = of_kind("list", KEYS[1]), of_kind("hash", KEYS[2]), of_kind("set", KEYS[3])
if ARGV[3] ~= "" and redis.call("EXISTS", unpack(KEYS, 4)) + redis.call("EXISTS", messages, state) == 0 then
  redis.call("SREM", forks, ARGV[3])
  return 0
end
local forgotten = redis.call("LLEN", messages)
local epoch = tonumber(epoch_in(state))
if redis.call("UNLINK", KEYS[5]) == 1 then
  redis.call("PUBLISH", ARGV[2], KEYS[5])
end
redis.call("UNLINK", messages, state, unpack(KEYS, 4))
redis.call("HSET", state, "epoch", string.format("%d", epoch + 1))
redis.call("EXPIRE", state, ARGV[1])
-- The threads live on, and what is said there from now on is reached by the next time.
redis.call("EXPIRE", forks, ARGV[1])
return forgotten
