-- A function that the scripts share which add messages.

-- Drop the oldest messages of a list until it holds at most ``most`` of them and ``most_bytes``; the ``newest`` stay,
-- whatever their size. When the last of them was said that left the list is written down: notes may tell it.
local function trim(messages, state, bytes, newest, most, most_bytes)
  local count, gone = redis.call("LLEN", messages), number_in(redis.call("HGET", state, "gone"), 0)
  while count > newest and (count > most or bytes > most_bytes) do
    local left = redis.call("LPOP", messages)
    gone = math.max(gone, number_in((decode(left) or {}).at, 0))
    bytes = bytes - #left
    count = count - 1
  end
  if gone > 0 then
    redis.call("HSET", state, "gone", string.format("%.6f", gone))
  end
  redis.call("HSET", state, "bytes", string.format("%.0f", math.max(0, bytes)))
end
