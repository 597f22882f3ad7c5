-- Let somebody make a model work beside the queue, within their quotas; the same name twice is counted once.
--
-- ARGV  a name for what is asked, then the limits, as quotas.lua takes them
-- returns  {1}, or what ``over_quota`` gives
local refused = over_quota(ARGV, 2, ARGV[1])
if refused then
  return refused
end
count_turn(ARGV, 2, ARGV[1], false)
return { 1 }
