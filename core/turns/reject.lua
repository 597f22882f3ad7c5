-- Put entries of a lane that can be neither read nor answered among the dead letters, and let the lane go on. It does as
-- little as can be done, so that it works where another script fails.
--
-- takes    lane; epoch; first: index of the first entry; count: how many; why
-- returns  1; 0 if another worker has the lane
local state = state_of(lane)
if redis.call("HGET", state, "epoch") ~= epoch then
  return 0
end
local entries = redis.call("LRANGE", inbox_of(lane), first, first + count - 1)
for index, entry in ipairs(entries) do
  bury(lane, entry, why, index == #entries and redis.call("HGET", state, "refs"))
  redis.call("LREM", inbox_of(lane), 1, entry)
  end_job(lane, entry)
end
go_on(lane, "")
return 1
