-- Remove all that one person said in a conversation, with the answers, and whatever else may contain it: the summary, turns
-- kept for Retry buttons, the page's board, and what they told to remember.
--
-- takes    messages, state, retries, board, facts, room, changed, following: keys; user: the person; quoted: the same as it
--          stands in stored JSON; boards: channel on which changed boards are told
-- returns  ids of the messages that were taken out
for key, kind in pairs({ [messages] = "list", [state] = "hash", [retries] = "hash", [board] = "hash", [facts] = "hash" }) do
  of_type(kind, key)
end
of_type("list", room)
of_type("list", changed)
if redis.call("HGET", of_type("hash", following), "person") == digest_of(following, user) then
  redis.call("HDEL", following, "person")
end
local asked, taken, bytes = {}, {}, 0

local function remove(entry, id)
  if redis.call("LREM", messages, 1, entry) == 1 then
    taken[#taken + 1], bytes = id, bytes + #entry
  end
end

local entries = redis.call("LRANGE", messages, 0, -1)
for _, entry in ipairs(entries) do
  if string.find(entry, quoted, 1, true) then -- cheap; decoding decides
    local message = decode(entry)
    if not message or message.uid == user then
      local id = message and text_in(message.id, "") or ""
      remove(entry, id)
      asked[id ~= "" and id or entry] = true
    end
  end
end
if next(asked) then
  for _, entry in ipairs(entries) do
    local message = string.find(entry, '"reply_to"', 1, true) and decode(entry)
    if message and asked[message.reply_to or false] then
      remove(entry, text_in(message.id, ""))
    end
  end
end
if bytes > 0 then
  bytes = math.max(0, number_in(redis.call("HGET", state, "bytes"), 0) - bytes)
  redis.call("HSET", state, "bytes", string.format("%.0f", bytes))
end

local function may_be_in(voices)
  voices = decode(voices)
  for _, voice in ipairs(voices or { "*" }) do
    if voice == user or voice == "*" then
      return true
    end
  end
end
for _, entry in ipairs(redis.call("LRANGE", room, 0, -1)) do
  local message = string.find(entry, quoted, 1, true) and decode(entry)
  if message and message.uid == user and redis.call("LREM", room, 1, entry) == 1 then
    taken[#taken + 1] = text_in(message.id, "")
  end
end
if redis.call("EXISTS", state) == 1 then
  -- Edits may be theirs, and what was read and is not stored yet may hold their words.
  redis.call("DEL", changed)
  count_noted(state)
  local known = redis.call("HMGET", state, "summary", "voices")
  if known[1] and may_be_in(known[2]) then
    drop_summary(state)
  else
    count_change(state)
  end
end

local kept = redis.call("HGETALL", retries)
for index = 1, #kept, 2 do
  local job = decode(kept[index + 1])
  local theirs = not job or type(job.turn) ~= "table" or job.turn.uid == user
  for _, voice in ipairs(job and type(job.voices) == "table" and job.voices or {}) do
    theirs = theirs or voice == user
  end
  if theirs then
    redis.call("HDEL", retries, kept[index])
  end
end

local shown = redis.call("HGETALL", board)
for index = 1, #shown, 2 do
  local entry = decode(shown[index + 1])
  if not entry or type(entry.author) ~= "table" or entry.author.id == user then
    redis.call("HDEL", board, shown[index])
    redis.call("PUBLISH", boards, board .. " " .. shown[index])
  end
end

local told = redis.call("HGETALL", facts)
for index = 1, #told, 2 do
  local fact = decode(told[index + 1])
  if told[index] ~= "last" and (not fact or fact.uid == user) then
    redis.call("HDEL", facts, told[index])
  end
end
return taken
