-- Save how far a reply is, for the worker that may continue it: a message is about to be posted, was posted, or the
-- answer ends. With the end, the turn is kept for its Retry button.
--
-- takes    retries: the key of the conversation's kept turns; lane; epoch; lease: milliseconds; kept: the job to keep ("" for
--          none); turn: its turn's id; fields: name, value …
-- returns  1; 0 if another worker has the lane
local state = state_of(lane)
if redis.call("HGET", state, "epoch") ~= epoch then
  return 0
end
redis.call("HSET", state, unpack(fields))
redis.call("ZADD", lanes_at("held", platform_of(lane)), now() + lease, lane)
if kept ~= "" then
  keep_for_retry(of_type("hash", retries), turn, kept)
end
return 1
