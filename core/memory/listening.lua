-- Keep a platform's listening token alive, or begin a new one: after a gap, or if other processes hear more or less.
--
-- takes    listening: key; mode: what is heard, "" for nothing; fresh: something random; restart: whether there was a gap;
--          ttl: seconds to live
-- returns  the token
of_type("string", listening)
if mode == "" then
  redis.call("DEL", listening)
  return ""
end
local token = redis.call("GET", listening) or ""
local kept, by = string.match(token, "^[%d.]+:(%a+):(%w+)$")
if kept == mode and (not restart or by == fresh) then
  redis.call("EXPIRE", listening, ttl)
  return token
end
token = string.format("%.3f:%s:%s", now() / 1000, mode, fresh)
redis.call("SET", listening, token, "EX", ttl)
return token
