-- Something became known of a turn that waits or is being answered: it was stopped, edited, deleted. Where the turn is not
-- known yet, a deletion is kept, so that its message is never answered, and an edit is, if it may be told of this one.
--
-- takes    key: the turn's; turn: its id; note: as JSON; early: whether an edit of a turn that is not known yet is kept
-- returns  1; 0 if the turn is done with, or not known
key = of_type("hash", key)
local status, lane = unpack(redis.call("HMGET", key, "status", "lane"))
local change = cjson.decode(note)
if status == "open" and lane then
  add_note(lane, turn, change)
  return 1
end
if status and status ~= "unheard" then
  return 0
end
if change.stop and change.stop.remember == false then
  redis.call("HDEL", key, "note")
  redis.call("HSET", key, "status", "done", "token", "deleted", "before", 0)
elseif change.text and early then
  local known = decode(redis.call("HGET", key, "note")) or {}
  if number_in(known.edited, 0) > number_in(change.edited, MAX_NUMBER) then
    return 0
  end
  redis.call("HSET", key, "status", "unheard", "note", note)
else
  return 0
end
redis.call("EXPIRE", key, TURN_TTL)
return 0
