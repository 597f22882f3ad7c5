-- The stored messages of one conversation that hold a text. A thread that is no more is taken off its channel's list.
--
-- Where there is none, the message may have left the list: then notes are dropped that may tell it, and those that are
-- being written are begun again. They may if it was said before the last message that left.
--
-- KEYS  messages, state, forks of the channel
-- ARGV  text, the conversation's name, when what is looked for was said (0 where that is not known)
-- returns  messages as stored
of_kind("list", KEYS[1])
local state = of_kind("hash", KEYS[2])
if redis.call("EXISTS", KEYS[1], state) == 0 then
  redis.call("SREM", of_kind("set", KEYS[3]), ARGV[2])
  return {}
end
local found = {}
for _, entry in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do
  if string.find(entry, ARGV[1], 1, true) then
    found[#found + 1] = entry
  end
end
if #found == 0 then
  local known = redis.call("HMGET", state, "gone", "summary", "voices")
  local gone = number_in(known[1], -1)
  if known[2] and not known[3] then -- of a version that did not write down what left the list
    local oldest = decode(redis.call("LINDEX", KEYS[1], 0)) or {}
    gone = math.max(gone, number_in(oldest.at, MOST_NUMBER))
  end
  if number_in(ARGV[3], 0) <= gone then
    drop_notes(state)
  end
end
return found
