-- Forget one conversation. The epoch stays and moves on, so that an answer that is being written while this happens is
-- not stored afterwards. A thread that is no more is taken off its channel's list.
--
-- takes    messages, state, retries, board, facts, room, changed, following, chosen, own_forks: keys; forks: the channel's;
--          ttl: seconds to live of what stays; boards: channel on which changed boards are told; thread: the conversation's
--          name if it is a thread; whole: whether what people chose goes as well, and the list of its threads
-- returns  number of messages forgotten
of_type("list", messages)
of_type("hash", state)
of_type("set", forks)
if whole then
  redis.call("UNLINK", following)
else -- Parley stays in the thread, and does not know who spoke there
  redis.call("HDEL", of_type("hash", following), "person")
end
local going = { messages, state, retries, board, facts, room, changed }
if whole then
  going[8], going[9] = chosen, own_forks
end
if thread ~= "" and redis.call("EXISTS", unpack(going)) == 0 then
  redis.call("SREM", forks, thread)
  return 0
end
local forgotten = redis.call("LLEN", messages)
local epoch = tonumber(epoch_in(state))
if redis.call("UNLINK", board) == 1 then
  redis.call("PUBLISH", boards, board)
end
-- Where this clock is behind the platform's, when the newest message was said.
local newest = math.max(now() / 1000, number_in(redis.call("HGET", state, "forgotten"), 0))
for _, entry in ipairs(whole and {} or redis.call("LRANGE", messages, 0, -1)) do
  newest = math.max(newest, number_in((decode(entry) or {}).at, 0))
end
redis.call("UNLINK", unpack(going))
redis.call("HSET", state, "epoch", string.format("%d", epoch + 1))
if not whole then
  redis.call("HSET", state, "forgotten", string.format("%.6f", newest)) -- nothing older is read from the platform again
end
redis.call("EXPIRE", state, ttl)
-- The list of threads stays: what is said in them from now on is reached by the next forgetting.
redis.call("EXPIRE", forks, ttl)
return forgotten
