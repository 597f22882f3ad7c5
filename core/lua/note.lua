-- Something became known of a turn that waits or is being answered: it was stopped, edited, deleted.
--
-- KEYS  the turn
-- ARGV  turn's id, note as JSON
-- returns  1; 0 if the turn is done with
local turn = redis.call("HMGET", of_kind("hash", KEYS[1]), "status", "lane")
if turn[1] ~= "open" or not turn[2] then
  return 0
end
add_note(turn[2], ARGV[1], cjson.decode(ARGV[2]))
return 1
