-- Add what was said in a thread, and not to Parley, once; only if Parley was asked in that thread before. The list stays
-- bounded in number and bytes.
--
-- takes    messages, state, forks, changed: keys; said: the message as JSON; id: its id; quoted: the same as it stands in
--          stored JSON; edited: when the message was edited last; ttl: seconds to live; most: messages; most_bytes; thread:
--          the conversation's name
-- returns  1 if it is stored, 0 if it is not to be; the newest edit of it (JSON) if that is newer than the message
of_type("list", messages)
of_type("hash", state)
of_type("set", forks)
if redis.call("EXISTS", state) == 0 then
  return 0
end
local change = change_of(changed, id, quoted)
if change and change.gone then
  return 0
elseif change and number_in(change.edited, 0) > edited then
  return change.entry
end
for _, entry in ipairs(redis.call("LRANGE", messages, 0, -1)) do
  if string.find(entry, quoted, 1, true) and (decode(entry) or {}).id == id then
    return 1
  end
end
redis.call("RPUSH", messages, said)
local bytes = number_in(redis.call("HGET", state, "bytes"), 0) + #said
trim(messages, state, bytes, 1, most, most_bytes)
redis.call("SADD", forks, thread)
for _, key in ipairs({ messages, state, forks }) do
  redis.call("EXPIRE", key, ttl)
end
return 1
