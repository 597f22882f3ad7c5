-- Let somebody make a model work beside the queue, within their quotas; the same name twice is counted once.
--
-- takes    name: of what is asked; limits: see quotas.lua
-- returns  {1}, or what ``exceeded_quota`` gives
local refused = exceeded_quota(limits, name)
if refused then
  return refused
end
count_turn(limits, name, false)
return { 1 }
