-- Replace or remove stored messages, compared byte by byte. A summary that contains a changed message is dropped; it is
-- written again from what is stored.
--
-- takes    messages, state, room: keys; swaps: {message as stored, message to stand there instead ("" for none)}
-- returns  number of messages changed
of_type("list", messages)
of_type("hash", state)
of_type("list", room)
local changed, bytes = 0, 0
local instead, noted = {}, false
for _, pair in ipairs(swaps) do
  instead[pair[1]] = pair[2]
end

local folded = redis.call("HGET", state, "folded")
for index, entry in ipairs(redis.call("LRANGE", messages, 0, -1)) do
  local new = instead[entry]
  if new then
    -- What was overheard is read in the order in which it was said, and not in that of the list.
    noted = noted or folded or string.find(entry, '"overheard":true', 1, true)
    if new ~= "" then
      redis.call("LSET", messages, index - 1, new)
      changed, bytes = changed + 1, bytes + #new - #entry
    end
  end
  if folded and (decode(entry) or {}).id == folded then
    folded = nil -- what comes after it is not part of the summary
  end
end
for old, new in pairs(instead) do
  if new == "" then
    local gone = redis.call("LREM", messages, 0, old)
    changed, bytes = changed + gone, bytes - #old * gone
  end
end
if noted and redis.call("HEXISTS", state, "summary") == 1 then
  drop_summary(state)
end
if changed > 0 then
  bytes = math.max(0, number_in(redis.call("HGET", state, "bytes"), 0) + bytes)
  redis.call("HSET", state, "bytes", string.format("%.0f", bytes))
  count_change(state) -- a summary being written is begun again
end
for index, entry in ipairs(redis.call("LRANGE", room, 0, -1)) do
  if instead[entry] and instead[entry] ~= "" then
    redis.call("LSET", room, index - 1, instead[entry])
    changed = changed + 1
  elseif instead[entry] then
    changed = changed + redis.call("LREM", room, 1, entry)
  end
end
return changed
