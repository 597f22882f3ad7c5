-- Accept a message: once, into its lane, within what may wait there and what its author may ask for. All of it or nothing.
--
-- takes    key: the turn's; following: its thread's; token; turn: its id; lane; job: as JSON; most: that may wait in the lane;
--          follow_up: "queue", "merge" or "interrupt"; superseded: the outcome of an older turn that is stopped (JSON);
--          limits: see quotas.lua; asked: see following.lua
-- returns  {1, turns before it} if accepted, {0, 0} if it was accepted before, {-1, turns waiting} if the lane is full,
--          what ``exceeded_quota`` gives if it is too much
local known = redis.call("HMGET", of_type("hash", key), "token", "before")
if known[1] then
  -- The same call, sent again because a connection broke, gets the same answer.
  return known[1] == token and { 1, number_in(known[2], 0) } or { 0, 0 }
end

local inbox = inbox_of(lane)
local before = redis.call("LLEN", inbox)
if before >= most then
  return { -1, before }
end

local refused = exceeded_quota(limits, turn)
if refused then
  return refused
end
count_turn(limits, turn, true)
note_question(following, asked)

local heard_before = decode(redis.call("HGET", key, "note")) -- it was edited, and that came first
redis.call("HDEL", key, "note")
open_turn(turn, lane, cjson.decode(job).id, token, before)
redis.call("RPUSH", inbox, job)
redis.call("EXPIRE", inbox, UNFINISHED_TTL)
if not has_place(lane) then
  make_ready(lane)
end
if heard_before then
  add_note(lane, turn, heard_before)
end
if follow_up == "interrupt" then
  local author = cjson.decode(job).turn.uid
  for _, older in ipairs(redis.call("LRANGE", inbox, 0, -2)) do
    local earlier = job_in(older).turn
    if earlier.uid == author and earlier.id ~= "" then
      add_note(lane, earlier.id, { stop = cjson.decode(superseded) })
    end
  end
end
return { 1, before }
