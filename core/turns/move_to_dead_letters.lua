-- Move entries of a lane to the dead letters, so that the lane continues. It does as little as possible, so that it works
-- even if another script fails on them.
--
-- takes    lane; epoch; first: index of the first entry; count: how many; why
-- returns  1; 0 if another worker has the lane
local state = state_of(lane)
if redis.call("HGET", state, "epoch") ~= epoch then
  return 0
end
local entries = redis.call("LRANGE", inbox_of(lane), first, first + count - 1)
for index, entry in ipairs(entries) do
  move_to_dead_letters(lane, entry, why, index == #entries and redis.call("HGET", state, "refs"))
  redis.call("LREM", inbox_of(lane), 1, entry)
  end_job(lane, entry)
end
advance(lane, "")
return 1
