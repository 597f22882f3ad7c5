-- Ask a kept turn once more: it is taken out of what is kept and goes into its lane. The client may send the call again when
-- a connection breaks: the token tells its own.
--
-- KEYS  kept turns of a conversation, the turn
-- ARGV  turn's id, token, channel and id of the message whose button was pressed
-- returns  1 if it is on its way; 0 if it is not kept any more
local turn, token, channel, pressed = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
of_kind("hash", KEYS[1])
if redis.call("HGET", of_kind("hash", KEYS[2]), "token") == token then
  return 1
end
local kept = redis.call("HGET", KEYS[1], turn)
if not kept then
  return 0
end
redis.call("HDEL", KEYS[1], turn)
if not answerable(kept) then
  add_unreadable("it cannot be read as a job", KEYS[1], "")
  return 0
end
local job = job_in(kept)
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
kept = string.gsub(kept, '"since":[-+.%w]+', string.format('"since":%.3f', now() / 1000), 1)
put_back(with_refs(kept, "[" .. table.concat(refs, ",") .. "]"), token)
return 1
