-- Add what was said in a channel, and not to Parley, once; the newest stay.
--
-- takes    room: key; said: the message as JSON; id: its id; quoted: the same as it stands in stored JSON; ttl: seconds to
--          live; most: messages
-- returns  1
of_type("list", room)
for _, entry in ipairs(redis.call("LRANGE", room, 0, -1)) do
  if string.find(entry, quoted, 1, true) and (decode(entry) or {}).id == id then
    return 1
  end
end
redis.call("RPUSH", room, said)
redis.call("LTRIM", room, -most, -1)
redis.call("EXPIRE", room, ttl)
return 1
