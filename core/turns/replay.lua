-- Remove a dead letter and, with ``again``, append its job to its lane.
--
-- takes    dead: the key of the dead letters; letter: as it stands; token; again: whether its turn goes back into its lane
-- returns  1; 0 if it is gone, or cannot be answered
local at = string.find(letter, ',"job":', 1, true)
local job = at and string.sub(letter, at + 7, -2)
if again and not (job and is_answerable(job)) then
  return 0
end
if redis.call("LREM", of_type("list", dead), 1, letter) == 0 then
  return 0
end
if again then
  append_job(job, token)
end
return 1
