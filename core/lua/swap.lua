-- Put one stored message in the place of another, or take it away, in a conversation and in every thread that copied it.
-- Messages are compared as they stand: a copy is the same text. A summary that a changed message is part of is dropped;
-- it is written anew from what is stored.
--
-- KEYS  messages, state, forks
-- ARGV  prefix of conversations' keys, then pairs: message as stored, message to stand there instead ("" for none)
-- returns  number of messages changed
local prefix, changed = ARGV[1], 0

local function unsum(messages, state)
  local folded = redis.call("HGET", state, "folded")
  if not folded then
    return
  end
  for _, entry in ipairs(redis.call("LRANGE", messages, 0, -1)) do
    for pair = 2, #ARGV, 2 do
      if entry == ARGV[pair] then
        redis.call("HDEL", state, "summary", "folded")
        return
      end
    end
    if cjson.decode(entry).id == folded then
      return
    end
  end
end

local function swap(messages, state)
  unsum(messages, state)
  for pair = 2, #ARGV, 2 do
    local old, new = ARGV[pair], ARGV[pair + 1]
    local bytes = 0
    if new == "" then
      local gone = redis.call("LREM", messages, 0, old)
      changed, bytes = changed + gone, -#old * gone
    else
      for index, entry in ipairs(redis.call("LRANGE", messages, 0, -1)) do
        if entry == old then
          redis.call("LSET", messages, index - 1, new)
          changed, bytes = changed + 1, bytes + #new - #old
        end
      end
    end
    if bytes ~= 0 then
      redis.call("HINCRBY", state, "bytes", bytes)
    end
  end
  if redis.call("EXISTS", state) == 1 then
    redis.call("HINCRBY", state, "changes", 1) -- whoever is writing a summary begins again
  end
end

swap(KEYS[1], KEYS[2])
for _, fork in ipairs(redis.call("SMEMBERS", KEYS[3])) do
  swap(prefix .. fork .. ":messages", prefix .. fork .. ":state")
end
return changed
