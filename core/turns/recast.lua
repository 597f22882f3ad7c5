-- Change a kept turn, if it still stands there as it was read.
--
-- takes    retries: the key of the conversation's kept turns; turn: its id; old: as it was read; new: what is to stand there
-- returns  1 if it was changed
if redis.call("HGET", of_kind("hash", retries), turn) ~= old then
  return 0
end
redis.call("HSET", retries, turn, new)
return 1
