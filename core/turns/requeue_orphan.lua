-- Make a lane ready that has turns but no place. No script leaves such a lane behind; this repairs what a loss of data
-- or an operator did.
--
-- takes    lane
-- returns  1 if it had no place
local head = redis.call("LINDEX", inbox_of(lane), 0)
if not head or has_place(lane) then
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
