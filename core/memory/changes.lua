-- Functions about edits and deletions of messages that are not stored yet.
local CHANGED_TTL = 86400 -- seconds: no answer takes longer, and no platform redelivers an event later than that
local MAX_CHANGED = 100

-- Count a change. If it is not written down as well, nobody knows what it was.
local function count_noted(state)
  redis.call("HSET", state, "noted", string.format("%.0f", noted_in(state) + 1))
end

-- Write down a change, as JSON, and count it.
local function note_change(changed, state, change)
  redis.call("RPUSH", of_type("list", changed), change)
  redis.call("LTRIM", changed, -MAX_CHANGED, -1)
  redis.call("EXPIRE", changed, CHANGED_TTL)
  count_noted(state)
end

-- What became of a message that is not stored yet: the newest edit of it, or its deletion; nil if nothing did.
local function change_of(changed, id, quoted)
  local newest
  for _, entry in ipairs(redis.call("LRANGE", of_type("list", changed), 0, -1)) do
    local change = string.find(entry, quoted, 1, true) and decode(entry)
    if change and change.id == id then
      change.entry = entry
      if change.gone then
        return change
      elseif not newest or number_in(change.edited, 0) >= number_in(newest.edited, 0) then
        newest = change
      end
    end
  end
  return newest
end
