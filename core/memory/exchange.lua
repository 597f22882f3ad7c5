-- Add what was said, once: messages of the same id, or that answer the same question, are replaced, so that a repeated
-- call (a retry by the client, or a person who asked to try again) leaves one pair. Nothing is added to a conversation
-- that was forgotten since it was loaded. The list stays bounded in number and bytes; its newest messages are never
-- dropped. A channel knows the threads that copied from it for as long as one of them lives.
--
-- keys  messages, state, forks of the channel
-- values  epoch, cut, seconds to live, most messages, most bytes, id of the question, number of newest to keep,
--       this conversation's name if it is a thread, messages…
-- returns  1 if added, 0 if the conversation was forgotten meanwhile
local function append(keys, values)
  local messages, state, forks = of_kind("list", keys[1]), of_kind("hash", keys[2]), of_kind("set", keys[3])
  local epoch, cut, ttl = values[1], values[2], values[3]
  local most, most_bytes, question, newest = tonumber(values[4]), tonumber(values[5]), values[6], tonumber(values[7])
  local name, first = values[8], 9

  if epoch_in(state) ~= epoch then
    return 0
  end

  local bytes = number_in(redis.call("HGET", state, "bytes"), 0)
  local replaced = { [question] = true }
  for index = first, #values do
    local message = decode(values[index]) or {}
    if type(message.id) == "string" and message.id ~= "" and not message.reply_to then
      replaced[message.id] = true
    end
  end
  local function names_one(entry) -- cheap; decoding decides
    for id in pairs(replaced) do
      if string.find(entry, id, 1, true) then
        return true
      end
    end
  end
  for _, entry in ipairs(redis.call("LRANGE", messages, 0, -1)) do
    if names_one(entry) then
      local message = decode(entry) or {}
      if message.id and replaced[message.id] or message.reply_to == question then
        bytes = bytes - #entry * redis.call("LREM", messages, 1, entry)
      end
    end
  end
  for index = first, #values do
    redis.call("RPUSH", messages, values[index])
    bytes = bytes + #values[index]
  end
  local count, gone = redis.call("LLEN", messages), number_in(redis.call("HGET", state, "gone"), 0)
  while count > newest and (count > most or bytes > most_bytes) do
    local left = redis.call("LPOP", messages)
    gone = math.max(gone, number_in((decode(left) or {}).at, 0))
    bytes = bytes - #left
    count = count - 1
  end
  if gone > 0 then
    redis.call("HSET", state, "gone", string.format("%.6f", gone)) -- what was said until then may be in the notes alone
  end
  redis.call("HSET", state, "bytes", string.format("%.0f", math.max(0, bytes)), "cut", cut, "stranger", "0")
  if name ~= "" then
    redis.call("SADD", forks, name)
  end
  redis.call("EXPIRE", messages, ttl)
  redis.call("EXPIRE", state, ttl)
  redis.call("EXPIRE", forks, ttl)
  return 1
end
