-- Replace or remove stored messages, compared byte by byte. A summary that contains a changed message is dropped; it is
-- written again from what is stored.
--
-- takes    messages, state: keys; swaps: {message as stored, message to stand there instead ("" for none)}
-- returns  number of messages changed
of_type("list", messages)
of_type("hash", state)
local changed, bytes = 0, 0
local instead, noted = {}, false
for _, pair in ipairs(swaps) do
  instead[pair[1]] = pair[2]
end

local folded = redis.call("HGET", state, "folded")
for index, entry in ipairs(redis.call("LRANGE", messages, 0, -1)) do
  local new = instead[entry]
  if new then
    noted = noted or folded
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
if noted then
  drop_summary(state)
end
if changed > 0 then
  bytes = math.max(0, number_in(redis.call("HGET", state, "bytes"), 0) + bytes)
  redis.call("HSET", state, "bytes", string.format("%.0f", bytes))
  count_change(state) -- a summary being written is begun again
end
return changed
