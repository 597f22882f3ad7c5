-- Put aside what stands in keys of the wrong kind.
--
-- KEYS  any
-- ARGV  for each of them the kind that it should be
-- returns  how many there were
local moved = 0
for index, key in ipairs(KEYS) do
  local found = redis.call("TYPE", key).ok
  if found ~= "none" and found ~= ARGV[index] then
    of_kind(ARGV[index], key)
    moved = moved + 1
  end
end
return moved
