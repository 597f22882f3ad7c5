-- Add what was said, once: messages of the same id, or that answer the same question, are replaced, so that a repeated
-- call (a retry by the client, or a person who asked to try again) leaves one pair. Nothing is added to a conversation
-- that was forgotten since it was loaded. The list stays bounded in number and bytes; its newest messages are never
-- dropped. A channel knows the threads that copied from it for as long as one of them lives.
--
-- exchange  epoch: the conversation's when it was loaded; cut; ttl: seconds to live; most: messages; most_bytes; question:
--           its id; newest: how many are kept whatever their size; thread: this conversation's name if it is a thread;
--           said: messages as JSON
-- returns  1 if added, 0 if the conversation was forgotten meanwhile
local function append(messages, state, forks, exchange)
  of_type("list", messages)
  of_type("hash", state)
  of_type("set", forks)
  if epoch_in(state) ~= exchange.epoch then
    return 0
  end

  local bytes = number_in(redis.call("HGET", state, "bytes"), 0)
  local replaced = { [exchange.question] = true }
  for _, said in ipairs(exchange.said) do
    local message = decode(said) or {}
    if type(message.id) == "string" and message.id ~= "" and not message.reply_to then
      replaced[message.id] = true
    end
  end
  local function may_be_replaced(entry) -- cheap; decoding decides
    for id in pairs(replaced) do
      if string.find(entry, id, 1, true) then
        return true
      end
    end
  end
  for _, entry in ipairs(redis.call("LRANGE", messages, 0, -1)) do
    if may_be_replaced(entry) then
      local message = decode(entry) or {}
      if message.id and replaced[message.id] or message.reply_to == exchange.question then
        bytes = bytes - #entry * redis.call("LREM", messages, 1, entry)
      end
    end
  end
  for _, said in ipairs(exchange.said) do
    redis.call("RPUSH", messages, said)
    bytes = bytes + #said
  end
  local count, gone = redis.call("LLEN", messages), number_in(redis.call("HGET", state, "gone"), 0)
  while count > exchange.newest and (count > exchange.most or bytes > exchange.most_bytes) do
    local left = redis.call("LPOP", messages)
    gone = math.max(gone, number_in((decode(left) or {}).at, 0))
    bytes = bytes - #left
    count = count - 1
  end
  if gone > 0 then
    redis.call("HSET", state, "gone", string.format("%.6f", gone)) -- what was said until then may be in the notes alone
  end
  redis.call("HSET", state, "bytes", string.format("%.0f", math.max(0, bytes)), "cut", exchange.cut, "stranger", "0")
  if exchange.thread ~= "" then
    redis.call("SADD", forks, exchange.thread)
  end
  for _, key in ipairs({ messages, state, forks }) do
    redis.call("EXPIRE", key, exchange.ttl)
  end
  return 1
end
