-- Store a summary, unless the conversation was forgotten or changed since it was loaded.
--
-- takes    state: its key; epoch; changes; summary; folded: id of the last message in it; voices: whose words it may tell
--          (JSON)
-- returns  1 if stored
local now_epoch = epoch_in(state)
local kept = redis.call("HMGET", state, "changes", "bytes")
if not kept[2] or now_epoch ~= epoch or (kept[1] or "0") ~= changes then
  return 0
end
redis.call("HSET", state, "summary", summary, "folded", folded, "voices", voices)
return 1
