-- Ask a turn once more: as it is kept, or as the caller knows it. Its lane must have room, and the person who pressed the
-- button must be within their quotas; otherwise it stays kept. The client may send the call again when a connection breaks:
-- the token tells its own.
--
-- takes    retries: the key of the conversation's kept turns; key: the turn's; turn: its id; token; channel, pressed: of the
--          message whose button was pressed; unkept: job to ask if none is kept ("" for none); most: that may wait in the
--          lane; scopes: to count it for; limits: see quotas.lua
-- returns  {1} if it is on its way; {0} if somebody asked again already; {-1, turns waiting} if the lane is full; what
--          ``exceeded_quota`` gives; {-3} if it is not kept any more
of_type("hash", retries)
local known = redis.call("HMGET", of_type("hash", key), "token", "status", "job")
if known[1] == token then
  return { 1 }
end
local text = redis.call("HGET", retries, turn)
if text and not is_answerable(text) then
  redis.call("HDEL", retries, turn)
  add_unreadable_entry("it cannot be read as a job", retries, "")
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
local refused = exceeded_quota(limits, job.id)
if refused then
  return refused
end
redis.call("HDEL", retries, turn)
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
text = string.gsub(text, '"scopes":"[^"]*"', function() return '"scopes":"' .. scopes .. '"' end, 1)
append_job(with_refs(text, "[" .. table.concat(refs, ",") .. "]"), token)
count_turn(limits, job.id, true)
return { 1 }
