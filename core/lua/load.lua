-- What is remembered of a conversation, in one round trip. A thread that is seen for the first time starts with a copy
-- of what its channel knew: up to and including the question and answer on which the thread hangs or, where
-- the channel never saw that message, what was said before it.
--
-- KEYS  messages, state, parent's messages, parent's forks
-- ARGV  "1" if there is a parent, id and time of the thread's root, seconds to live, this conversation's name
-- returns  messages, cut, epoch, "1" if the thread began without us and nothing of it has been stored yet
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
  redis.call("SADD", forks, name)
  redis.call("EXPIRE", messages, ttl)
  redis.call("EXPIRE", state, ttl)
  redis.call("EXPIRE", forks, ttl)
end

local kept = redis.call("HMGET", state, "cut", "epoch", "stranger")
return { redis.call("LRANGE", messages, 0, -1), kept[1] or "", kept[2] or "0", kept[3] or "0" }
