-- Add what was said, once: messages of the same id, or that answer the same question, are replaced, so that a repeated
-- call (a retry by the client, or a person who asked to try again) leaves one pair. Nothing is added to a conversation
-- that was forgotten since it was loaded. The list stays bounded in number and bytes; its newest messages are never
-- dropped. A channel knows the threads that copied from it for as long as one of them lives. Who spoke in a thread is noted:
-- see following.lua.
--
-- exchange  epoch: the conversation's when it was loaded; cut; ttl: seconds to live; most: messages; most_bytes; question:
--           its id; newest: how many are kept whatever their size; thread: this conversation's name if it is a thread;
--           said: messages as JSON; heard: the listening token under which all of the thread is known, "" if it is not;
--           until: the question up to which it is known, "" for the same as before; noted: how many edits and deletions of
--           the thread were noted when it was loaded (without it: nothing was read from the platform)
-- returns  1 if added, 0 if the conversation was forgotten meanwhile, 2 if something that was read was perhaps edited or
--          deleted meanwhile
local function append(messages, state, forks, following, exchange)
  of_type("list", messages)
  of_type("hash", state)
  of_type("set", forks)
  if epoch_in(state) ~= exchange.epoch then
    return 0
  elseif exchange.noted and exchange.noted ~= noted_in(state) then
    return 2
  end

  local bytes = number_in(redis.call("HGET", state, "bytes"), 0)
  local replaced = { [exchange.question] = true }
  for _, said in ipairs(exchange.said) do
    local message = decode(said) or {}
    if exchange.thread ~= "" and message.role == "user" and not message.app and type(message.uid) == "string" then
      note_person(of_type("hash", following), message.uid)
    end
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
  trim(messages, state, bytes, exchange.newest, exchange.most, exchange.most_bytes)
  redis.call("HSET", state, "cut", exchange.cut, "stranger", "0")
  if exchange.thread ~= "" then
    redis.call("SADD", forks, exchange.thread)
    if exchange.heard == "" then
      redis.call("HDEL", state, "heard")
    else
      redis.call("HSET", state, "heard", exchange.heard)
    end
    redis.call("HSET", of_type("hash", following), "joined", "1")
    if exchange.heard ~= "" or exchange["until"] ~= "" then
      redis.call("HSET", following, "known", "1")
    end
    redis.call("EXPIRE", following, exchange.ttl)
    if exchange["until"] ~= "" then
      redis.call("HSET", state, "until", exchange["until"])
    end
  end
  for _, key in ipairs({ messages, state, forks }) do
    redis.call("EXPIRE", key, exchange.ttl)
  end
  return 1
end
