-- Ask a turn once more: as it is kept, or as the caller knows it, within what may wait in its lane and what whoever asks
-- again may ask for. Where that is too much it stays kept. The client may send the call again when a connection breaks:
-- the token tells its own.
--
-- KEYS  kept turns of a conversation, the turn
-- ARGV  turn's id, token, channel and id of the message whose button was pressed, job to ask if none is kept ("" for none),
--       most that may wait in the lane, scopes to count it for, then the limits, as quotas.lua takes them
-- returns  {1} if it is on its way; {0} if somebody asked again already; {-1, turns waiting} if the lane is full; what
--          ``over_quota`` gives; {-3} if it is not kept any more
local turn, token, channel, pressed, unkept, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local LIMITS = 8
of_kind("hash", KEYS[1])
local known = redis.call("HMGET", of_kind("hash", KEYS[2]), "token", "status", "job")
if known[1] == token then
  return { 1 }
end
local text = redis.call("HGET", KEYS[1], turn)
if text and not answerable(text) then
  redis.call("HDEL", KEYS[1], turn)
  add_unreadable("it cannot be read as a job", KEYS[1], "")
  text = nil
end
if not text then
  if known[2] == "open" or (unkept ~= "" and known[3] == job_in(unkept).id) then
    return { 0 }
  elseif unkept == "" then
    return { -3 }
  end
  text = unkept
end
local job = job_in(text)
local waiting = redis.call("LLEN", inbox_of(job.turn.lane))
if waiting >= most then
  return { -1, waiting }
end
local refused = over_quota(ARGV, LIMITS, job.id)
if refused then
  return refused
end
redis.call("HDEL", KEYS[1], turn)
local refs, posted_with_it = {}, true
for _, ref in ipairs(type(job.refs) == "table" and job.refs or {}) do
  if type(ref) == "table" and type(ref[1]) == "string" and type(ref[2]) == "string" then
    refs[#refs + 1] = cjson.encode(ref)
    posted_with_it = posted_with_it and ref[2] ~= pressed
  end
end
if posted_with_it then
  refs[#refs + 1] = cjson.encode({ channel, pressed })
end
text = string.gsub(text, '"since":[-+.%w]+', string.format('"since":%.3f', now() / 1000), 1)
text = string.gsub(text, '"scopes":"[^"]*"', function() return '"scopes":"' .. ARGV[7] .. '"' end, 1)
put_back(with_refs(text, "[" .. table.concat(refs, ",") .. "]"), token)
count_turn(ARGV, LIMITS, job.id, true)
return { 1 }
