-- Reading what is stored, whatever stands there. Nothing that comes out of Redis is trusted: a key may be of another
-- kind, text may not be JSON, a number may not be one. What cannot be read costs itself and nothing beside it.
local DEAD_LETTERS = "{parley}:dead"
local DEAD_TTL = 30 * 86400
local MOST_DEAD = 1000
local LONGEST_ENTRY = 65536 -- bytes that are kept of a key of the wrong kind
local MOST_NUMBER = 2 ^ 53 -- from here on one whole number cannot be told from the next

local function now()
  local time = redis.call("TIME")
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The number that a text holds, or ``default`` where it holds none that can be counted with.
local function number_in(text, default)
  local number = tonumber(text)
  if number and number > -MOST_NUMBER and number < MOST_NUMBER then
    return number
  end
  return default
end

-- The table that a text is the JSON of; nil for anything else.
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

-- Put something where an operator finds it; ``what`` is the end of its JSON.
local function add_letter(tries, why, what)
  if redis.call("TYPE", DEAD_LETTERS).ok ~= "list" then
    redis.call("DEL", DEAD_LETTERS)
  end
  local text = '{"v":1,"at":' .. string.format("%.3f", now() / 1000) .. ',"tries":' .. string.format("%d", tries)
  redis.call("RPUSH", DEAD_LETTERS, text .. ',"why":' .. cjson.encode(why) .. what .. "}")
  redis.call("LTRIM", DEAD_LETTERS, -MOST_DEAD, -1)
  redis.call("EXPIRE", DEAD_LETTERS, DEAD_TTL)
end

local function add_unreadable(why, key, entry, tries)
  entry = string.sub(entry, 1, LONGEST_ENTRY)
  add_letter(tries or 0, why, ',"key":' .. cjson.encode(key) .. ',"entry":' .. cjson.encode(entry))
end

-- What a key holds, as text: the beginning of it, however large it is.
local function contents(key, kind)
  if kind == "string" then
    return redis.call("GETRANGE", key, 0, LONGEST_ENTRY)
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

-- The name of a key, after what stood there is put aside if it is of another kind than ``kind``. Of a conversation's keys
-- only that is told: nothing that was said may outlive its forgetting among the dead letters.
local known_kinds = {}
local function of_kind(kind, key)
  if known_kinds[key] == nil then
    local found = redis.call("TYPE", key).ok
    if found ~= "none" and found ~= kind then
      local private = string.sub(key, 1, 14) == "{parley}:conv:"
      local entry = private and "" or contents(key, found)
      redis.call("UNLINK", key)
      if key ~= DEAD_LETTERS then
        add_unreadable("it is a " .. found .. " where a " .. kind .. " should be", key, entry)
      end
    end
    known_kinds[key] = true
  end
  return key
end

-- Something in a conversation was changed: notes of it that are being written are begun again.
local function count_change(state)
  redis.call("HSET", state, "changes", string.format("%.0f", number_in(redis.call("HGET", state, "changes"), 0) + 1))
end

-- Drop the notes of a conversation, which may tell what was changed or taken back.
local function drop_notes(state)
  redis.call("HDEL", state, "summary", "folded", "voices")
  count_change(state)
end

-- How often a conversation was forgotten, as text. Where that cannot be read it is as if it just was: what was begun
-- before is not stored any more.
local function epoch_in(state)
  local epoch = redis.call("HGET", of_kind("hash", state), "epoch")
  if epoch and not (string.match(epoch, "^%d+$") and #epoch < 16) then
    epoch = string.format("%d", math.floor(now() / 1000))
    redis.call("HSET", state, "epoch", epoch)
  end
  return epoch or "0"
end
