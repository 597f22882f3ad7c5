-- What is remembered of a conversation, in one round trip. A thread that is seen for the first time starts with a copy
-- of what its channel knew: up to and including the question and answer on which the thread hangs or, where
-- the channel never saw that message, what was said before it.
--
-- A thread has the settings of its channel until it gets its own.
--
-- takes    messages, state, settings, room: keys of the conversation; parent, parent_state, forks, parent_settings: of its
--          parent; facts: the key of what people told to remember; listening: its platform's token; has_parent; root,
--          root_at: id and time of the thread's root; ttl: seconds to live; name: the conversation's; fields
-- returns  messages; settings as JSON, "" for none; what was said in the channel lately; facts as stored; the listening
--          token, "" for none; when it was forgotten, 0 for never; the fields of its state that ``fields`` names
of_type("list", messages)
of_type("hash", state)
of_type("list", parent)
of_type("set", forks)
of_type("hash", parent_state)

if has_parent and redis.call("EXISTS", messages, state) == 0 then
  local known, until_root, before = redis.call("LRANGE", parent, 0, -1), 0, {}
  local copied, bytes = {}, 0
  for index, entry in ipairs(known) do
    local message = decode(entry) or {}
    local id, reply_to = text_in(message.id, ""), text_in(message.reply_to)
    if id == root or reply_to == root then
      until_root = index
    end
    -- A question is older than the root by its time, an answer with its question.
    if reply_to and before[reply_to] ~= nil then
      before[id] = before[reply_to]
    else
      before[id] = number_in(message.at, root_at + 1) <= root_at
    end
    if before[id] then
      copied[#copied + 1] = entry
    end
  end
  if until_root > 0 then
    copied = {}
    for index = 1, until_root do
      copied[index] = known[index]
    end
  end
  for _, entry in ipairs(copied) do
    redis.call("RPUSH", messages, entry)
    bytes = bytes + #entry
  end
  redis.call("HSET", state, "bytes", bytes, "stranger", until_root > 0 and "0" or "1")
  local summed = redis.call("HMGET", parent_state, "summary", "folded", "voices", "gone")
  if summed[1] and summed[2] then
    -- Only if all that it is about was said before the thread began: it is copied, or no longer stored.
    local here, there = false, false
    for index, entry in ipairs(known) do
      if (decode(entry) or {}).id == summed[2] then
        there, here = true, copied[index] == entry
      end
    end
    if here or not there then
      redis.call("HSET", state, "summary", summed[1], "folded", summed[2])
      for index, field in pairs({ [3] = "voices", [4] = "gone" }) do
        if summed[index] then
          redis.call("HSET", state, field, summed[index])
        end
      end
    end
  end
  redis.call("SADD", forks, name)
  redis.call("EXPIRE", messages, ttl)
  redis.call("EXPIRE", state, ttl)
  redis.call("EXPIRE", forks, ttl)
end

local chosen = redis.call("GET", of_type("string", settings)) and settings or of_type("string", parent_settings)
redis.call("EXPIRE", chosen, ttl)
redis.call("EXPIRE", of_type("hash", facts), ttl)
epoch_in(state)
local forgotten = number_in(redis.call("HGET", state, "forgotten"), 0)
if has_parent then
  forgotten = math.max(forgotten, number_in(redis.call("HGET", parent_state, "forgotten"), 0))
end
return {
  redis.call("LRANGE", messages, 0, -1), redis.call("GET", chosen) or "", redis.call("LRANGE", of_type("list", room), 0, -1),
  redis.call("HGETALL", facts), redis.call("GET", of_type("string", listening)) or "", string.format("%.6f", forgotten),
  redis.call("HMGET", state, unpack(fields)),
}
