-- Add what was said, once: messages that answer the same question are replaced, so that a repeated call (a retry by the
-- client, or a person who asked to try again) leaves one pair. Nothing is added to a conversation that was forgotten
-- since it was loaded. The list stays bounded in number and bytes; its newest messages are never dropped.
--
-- KEYS  messages, state
-- ARGV  epoch, cut, seconds to live, most messages, most bytes, id of the question, number of newest to keep, messages…
-- returns  1 if added, 0 if the conversation was forgotten meanwhile
local messages, state = KEYS[1], KEYS[2]
local epoch, cut, ttl = ARGV[1], ARGV[2], ARGV[3]
local most, most_bytes, question, newest = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])

if (redis.call("HGET", state, "epoch") or "0") ~= epoch then
  return 0
end

local bytes = tonumber(redis.call("HGET", state, "bytes") or "0")
for _, entry in ipairs(redis.call("LRANGE", messages, 0, -1)) do
  if string.find(entry, question, 1, true) then -- cheap; decoding decides
    local message = cjson.decode(entry)
    if message.id == question or message.reply_to == question then
      bytes = bytes - #entry * redis.call("LREM", messages, 1, entry)
    end
  end
end
for index = 8, #ARGV do
  redis.call("RPUSH", messages, ARGV[index])
  bytes = bytes + #ARGV[index]
end
local count = redis.call("LLEN", messages)
while count > newest and (count > most or bytes > most_bytes) do
  bytes = bytes - #redis.call("LPOP", messages)
  count = count - 1
end
redis.call("HSET", state, "bytes", bytes, "cut", cut, "stranger", "0")
redis.call("EXPIRE", messages, ttl)
redis.call("EXPIRE", state, ttl)
return 1
