-- The stored messages of one conversation that hold a text. A thread that is no more is taken off its channel's list.
--
-- Where there is none, the message may have left the list: then notes are dropped that may tell it, and those that are
-- being written are begun again. They may if it was said before the last message that left.
--
-- What is read of a thread is stored only with the answer to its question, and events may come in another order than they
-- happened: in a thread, a change is written down for messages that come after it.
--
-- takes    messages, state, room, changed, facts: keys; forks: the channel's; text; name: the conversation's; said: when
--          what is looked for was said (0 where that is not known); change: what to write down of it, as JSON ("" for nothing)
-- returns  1 if a fact may have been told in that message; messages as stored
of_type("list", messages)
of_type("hash", state)
local found, told = {}, 0
for _, fact in ipairs(redis.call("HVALS", of_type("hash", facts))) do
  if string.find(fact, text, 1, true) then
    told = 1
  end
end
for _, entry in ipairs(redis.call("LRANGE", of_type("list", room), 0, -1)) do
  if string.find(entry, text, 1, true) then
    found[#found + 1] = entry
  end
end
if redis.call("EXISTS", messages, state) == 0 then
  redis.call("SREM", of_type("set", forks), name)
  return { told, found }
end
if change ~= "" and redis.call("EXISTS", state) == 1 then
  note_change(changed, state, change)
end
local overheard = #found
for _, entry in ipairs(redis.call("LRANGE", messages, 0, -1)) do
  if string.find(entry, text, 1, true) then
    found[#found + 1] = entry
  end
end
if #found == overheard then
  local known = redis.call("HMGET", state, "gone", "summary", "voices")
  local gone = number_in(known[1], -1)
  if known[2] and not known[3] then -- of a version that did not write down what left the list
    local oldest = decode(redis.call("LINDEX", messages, 0)) or {}
    gone = math.max(gone, number_in(oldest.at, MAX_NUMBER))
  end
  if said <= gone then
    drop_summary(state)
  end
end
return { told, found }
