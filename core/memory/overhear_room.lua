-- Add what was said in a channel, and not to Parley, once; the newest stay, and nothing that is older than ``ttl``.
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
local newest = number_in((decode(said) or {}).at, 0)
local oldest = redis.call("LINDEX", room, 0)
while oldest and number_in((decode(oldest) or {}).at, 0) < newest - ttl do
  redis.call("LPOP", room)
  oldest = redis.call("LINDEX", room, 0)
end
redis.call("EXPIRE", room, ttl)
return 1
