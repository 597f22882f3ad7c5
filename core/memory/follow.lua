-- A person spoke in a thread and did not mention Parley: what the rule of core/memory/following.py needs to decide whether
-- that was meant for it. Nothing is stored of threads that Parley does not know.
--
-- takes    following, messages, settings, parent_settings, turn: keys of the thread and of the message; parent_messages,
--          room: keys of what was said in its channel; person: their id; names_wanted: whether those of others are; ttl:
--          seconds to live
-- returns  whether the message was accepted before; joined, known, several, muted: "1" or nil; settings; the names of others
--          who spoke there or in the channel, as far as they are stored
of_type("hash", following)
local names = {}
if redis.call("EXISTS", following) == 1 then
  note_person(following, person)
  redis.call("EXPIRE", following, ttl)
  if names_wanted then
    for _, said in ipairs({ messages, parent_messages, room }) do
      for _, entry in ipairs(redis.call("LRANGE", of_type("list", said), 0, -1)) do
        local message = string.find(entry, '"name"', 1, true) and decode(entry) or {}
        if message.uid ~= person then
          names[#names + 1] = text_in(message.name)
        end
      end
    end
  end
end
local chosen = redis.call("GET", of_type("string", settings)) or redis.call("GET", of_type("string", parent_settings))
local accepted = redis.call("HGET", of_type("hash", turn), "token")
local known = redis.call("HMGET", following, "joined", "known", "several", "muted")
return { accepted and "1" or "", known[1] or "", known[2] or "", known[3] or "", known[4] or "", chosen or "", names }
