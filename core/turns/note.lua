-- Something became known of a turn that waits or is being answered: it was stopped, edited, deleted. Where the turn is not
-- known yet, a deletion is kept, so that its message is never answered, and an edit is, if it may be told of this one.
--
-- KEYS  the turn
-- ARGV  turn's id, note as JSON, "1" if an edit of a turn that is not known yet is kept
-- returns  1; 0 if the turn is done with, or not known
local key, note = of_kind("hash", KEYS[1]), cjson.decode(ARGV[2])
local turn = redis.call("HMGET", key, "status", "lane")
if turn[1] == "open" and turn[2] then
  add_note(turn[2], ARGV[1], note)
  return 1
end
if turn[1] and turn[1] ~= "unheard" then
  return 0
end
if note.stop and note.stop.remember == false then
  redis.call("HDEL", key, "note")
  redis.call("HSET", key, "status", "done", "token", "deleted", "before", 0)
elseif note.text and ARGV[3] == "1" then
  local known = decode(redis.call("HGET", key, "note")) or {}
  if number_in(known.edited, 0) > number_in(note.edited, MOST_NUMBER) then
    return 0
  end
  redis.call("HSET", key, "status", "unheard", "note", ARGV[2])
else
  return 0
end
redis.call("EXPIRE", key, TURN_TTL)
return 0
