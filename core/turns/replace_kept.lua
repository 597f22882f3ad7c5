-- Compare and set a turn that is kept for its Retry button.
--
-- takes    retries: the key of the conversation's kept turns; turn: its id; old: as it was read; new: what is to stand there
-- returns  1 if it was changed
if redis.call("HGET", of_type("hash", retries), turn) ~= old then
  return 0
end
redis.call("HSET", retries, turn, new)
return 1
