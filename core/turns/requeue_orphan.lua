-- Put a lane that stands nowhere, although turns wait in it, where workers find it. Every script leaves lanes where they
-- belong; this mends what a loss of data or an operator's hand did.
--
-- takes    lane
-- returns  1 if it stood nowhere
local head = redis.call("LINDEX", inbox_of(lane), 0)
if not head or stands(lane) then
  return 0
end
local root = job_in(head).turn.root
if root ~= "" and redis.call("SISMEMBER", waiting_for(root), lane) == 1 then
  local known = redis.call("HMGET", turn_of(root), "status", "lane")
  if known[1] == "open" and known[2] then
    for _, job in ipairs(redis.call("LRANGE", inbox_of(known[2]), 0, -1)) do
      if job_in(job).turn.id == root then
        return 0
      end
    end
    close_turn(root) -- it is in no lane any more: nobody will
    return 1
  end
  redis.call("SREM", waiting_for(root), lane)
end
make_ready(lane)
return 1
