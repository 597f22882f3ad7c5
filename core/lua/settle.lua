-- Put a lane that stands nowhere, although turns wait in it, where workers find it. Every script leaves lanes where they
-- belong; this mends what a loss of data or an operator's hand did.
--
-- KEYS  (none)
-- ARGV  lane
-- returns  1 if it stood nowhere
local lane = ARGV[1]
local head = redis.call("LINDEX", inbox_of(lane), 0)
if not head or stands(lane) then
  return 0
end
local root = cjson.decode(head).turn.root
if root ~= "" and redis.call("SISMEMBER", turn_of(root) .. "/waiting", lane) == 1 then
  if redis.call("HGET", turn_of(root), "status") == "open" then
    return 0
  end
  redis.call("SREM", turn_of(root) .. "/waiting", lane)
end
make_ready(lane)
return 1
