-- Reads stored values without trusting them: a key may be of another type, a text may not be JSON, a number may be
-- none. An unreadable value is lost alone and never stops a script.
local DEAD_LETTERS = "{parley}:dead"
local DEAD_LETTER_TTL = 30 * 86400
local MAX_DEAD_LETTERS = 1000
local MAX_ENTRY_BYTES = 65536 -- bytes of a damaged entry that are kept
local MAX_NUMBER = 2 ^ 53 -- from here on, doubles skip whole numbers

local function now()
  local time = redis.call("TIME")
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The number in a text, or ``default`` if it is none or too large to count with.
local function number_in(text, default)
  local number = tonumber(text)
  if number and number > -MAX_NUMBER and number < MAX_NUMBER then
    return number
  end
  return default
end

-- A JSON object or array as a table; nil for anything else.
local function decode(text)
  if type(text) ~= "string" then
    return nil
  end
  local good, value = pcall(cjson.decode, text)
  if good and type(value) == "table" then
    return value
  end
end

local function text_in(value, default)
  if type(value) == "string" then
    return value
  end
  return default
end

-- Add a dead letter, where an operator finds it. ``what`` is the rest of its JSON.
local function add_dead_letter(tries, why, what)
  if redis.call("TYPE", DEAD_LETTERS).ok ~= "list" then
    redis.call("DEL", DEAD_LETTERS)
  end
  local text = '{"v":1,"at":' .. string.format("%.3f", now() / 1000) .. ',"tries":' .. string.format("%d", tries)
  redis.call("RPUSH", DEAD_LETTERS, text .. ',"why":' .. cjson.encode(why) .. what .. "}")
  redis.call("LTRIM", DEAD_LETTERS, -MAX_DEAD_LETTERS, -1)
  redis.call("EXPIRE", DEAD_LETTERS, DEAD_LETTER_TTL)
end

local function add_unreadable_entry(why, key, entry, tries)
  entry = string.sub(entry, 1, MAX_ENTRY_BYTES)
  add_dead_letter(tries or 0, why, ',"key":' .. cjson.encode(key) .. ',"entry":' .. cjson.encode(entry))
end

-- The value of a key as text, or its beginning.
local function contents_as_text(key, kind)
  if kind == "string" then
    return redis.call("GETRANGE", key, 0, MAX_ENTRY_BYTES)
  elseif kind == "list" then
    return table.concat(redis.call("LRANGE", key, 0, 99), "\n")
  elseif kind == "zset" then
    return table.concat(redis.call("ZRANGE", key, 0, 99), "\n")
  elseif kind == "hash" and redis.call("HLEN", key) < 100 then
    return table.concat(redis.call("HGETALL", key), "\n")
  elseif kind == "set" and redis.call("SCARD", key) < 100 then
    return table.concat(redis.call("SMEMBERS", key), "\n")
  end
  return ""
end

-- The name of a key, which is moved to the dead letters first if it is of another type than ``kind``. The contents of
-- conversations are not: nothing that was said may outlive its forgetting among the dead letters.
local known_kinds = {}
local function of_type(kind, key)
  if known_kinds[key] == nil then
    local found = redis.call("TYPE", key).ok
    if found ~= "none" and found ~= kind then
      local private = string.sub(key, 1, 14) == "{parley}:conv:"
      local entry = private and "" or contents_as_text(key, found)
      redis.call("UNLINK", key)
      if key ~= DEAD_LETTERS then
        add_unreadable_entry("it is a " .. found .. " where a " .. kind .. " should be", key, entry)
      end
    end
    known_kinds[key] = true
  end
  return key
end

-- Count a change in a conversation: a summary that is being written starts again.
local function count_change(state)
  redis.call("HSET", state, "changes", string.format("%.0f", number_in(redis.call("HGET", state, "changes"), 0) + 1))
end

-- How many edits and deletions were noted in a conversation for messages that are not stored yet.
local function noted_in(state)
  return math.max(0, math.floor(number_in(redis.call("HGET", state, "noted"), 0)))
end

-- Drop the summary of a conversation, which may contain what was changed or withdrawn.
local function drop_summary(state)
  redis.call("HDEL", state, "summary", "folded", "voices")
  count_change(state)
end

-- How often a conversation was forgotten, as text. If that is unreadable, it gets a new value, as if the conversation
-- had just been forgotten: exchanges begun before are not stored.
local function epoch_in(state)
  local epoch = redis.call("HGET", of_type("hash", state), "epoch")
  if epoch and not (string.match(epoch, "^%d+$") and #epoch < 16) then
    epoch = string.format("%d", math.floor(now() / 1000))
    redis.call("HSET", state, "epoch", epoch)
  end
  return epoch or "0"
end
