-- The stored messages of one conversation that hold a text. A thread that is no more is taken off its channel's list.
--
-- KEYS  messages, state, forks of the channel
-- ARGV  text ("" for all messages), the conversation's name if it is a thread
-- returns  messages as stored
of_kind("list", KEYS[1])
if redis.call("EXISTS", KEYS[1], of_kind("hash", KEYS[2])) == 0 then
  redis.call("SREM", of_kind("set", KEYS[3]), ARGV[2])
  return {}
end
local found = {}
for _, entry in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do
  if string.find(entry, ARGV[1], 1, true) then
    found[#found + 1] = entry
  end
end
return found
