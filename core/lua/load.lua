-- What is remembered of a conversation, in one round trip. A thread that is seen for the first time starts with a copy
-- of what its channel knew: up to and including the question and answer on which the thread hangs or, where
-- the channel never saw that message, what was said before it.
--
-- A thread has the settings of its channel until it gets its own.
--
-- KEYS  messages, state, parent's messages, parent's forks, parent's state, settings, parent's settings
-- ARGV  "1" if there is a parent, id and time of the thread's root, seconds to live, this conversation's name
-- returns  messages, cut, epoch, "1" if the thread began without us and nothing of it has been stored yet, settings,
--          summary, id of the last message in it, number of changes
local messages, state, parent, forks = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local has_parent, root, root_at, ttl, name = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]

if has_parent == "1" and redis.call("EXISTS", messages, state) == 0 then
  local known, until_root, before = redis.call("LRANGE", parent, 0, -1), 0, {}
  local copied, bytes = {}, 0
  for index, entry in ipairs(known) do
    local message = cjson.decode(entry)
    if message.id == root or message.reply_to == root then
      until_root = index
    end
    -- A question is older than the root by its time, an answer with its question.
    if message.reply_to and before[message.reply_to] ~= nil then
      before[message.id] = before[message.reply_to]
    else
      before[message.id] = message.at <= root_at
    end
    if before[message.id] then
      copied[#copied + 1] = entry
    end
  end
  if until_root > 0 then
    copied = { unpack(known, 1, until_root) }
  end
  for _, entry in ipairs(copied) do
    redis.call("RPUSH", messages, entry)
    bytes = bytes + #entry
  end
  redis.call("HSET", state, "bytes", bytes, "stranger", until_root > 0 and "0" or "1")
  local summed = redis.call("HMGET", KEYS[5], "summary", "folded")
  if summed[1] and summed[2] then
    -- Only if all that it is about was said before the thread began: it is copied, or no longer stored.
    local here, there = false, false
    for index, entry in ipairs(known) do
      if cjson.decode(entry).id == summed[2] then
        there, here = true, copied[index] == entry
      end
    end
    if here or not there then
      redis.call("HSET", state, "summary", summed[1], "folded", summed[2])
    end
  end
  redis.call("SADD", forks, name)
  redis.call("EXPIRE", messages, ttl)
  redis.call("EXPIRE", state, ttl)
  redis.call("EXPIRE", forks, ttl)
end

local settings = redis.call("GET", KEYS[6]) and KEYS[6] or KEYS[7]
redis.call("EXPIRE", settings, ttl)
local kept = redis.call("HMGET", state, "cut", "epoch", "stranger", "summary", "folded", "changes")
return {
  redis.call("LRANGE", messages, 0, -1), kept[1] or "", kept[2] or "0", kept[3] or "0",
  redis.call("GET", settings) or "", kept[4] or "", kept[5] or "", kept[6] or "0",
}
