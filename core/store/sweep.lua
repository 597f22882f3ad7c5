-- Move keys of a wrong type to the dead letters.
--
-- takes    any keys; kinds: for each of them the type that it should be
-- returns  how many there were
local moved = 0
for index, key in ipairs(KEYS) do
  local found = redis.call("TYPE", key).ok
  if found ~= "none" and found ~= kinds[index] then
    of_type(kinds[index], key)
    moved = moved + 1
  end
end
return moved
