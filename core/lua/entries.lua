-- Every stored message of a conversation, and of the threads that copied from it: a copy may outlive its original.
--
-- KEYS  messages, forks
-- ARGV  prefix of conversations' keys
-- returns  messages as stored
local entries = redis.call("LRANGE", KEYS[1], 0, -1)
for _, fork in ipairs(redis.call("SMEMBERS", KEYS[2])) do
  for _, entry in ipairs(redis.call("LRANGE", ARGV[1] .. fork .. ":messages", 0, -1)) do
    entries[#entries + 1] = entry
  end
end
return entries
