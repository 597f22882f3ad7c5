-- End a turn: what was said goes into the memory and the turn leaves its lane, together or not at all.
--
-- takes    messages, memory, forks, following, retries: keys of the conversation; lane; epoch; job: the last one; count: of
--          turns; tokens: used; dead: why it is a dead letter ("" if it is not); known: the notes that the worker knows,
--          one for each turn;
--          exchange: see exchange.lua; empty where nothing is remembered
-- returns  {1} if done, {2} if it was done before, {0} if another worker has the lane, {3, notes…} if there is more to know,
--          {4} if what was read for the answer may have been edited or deleted: see exchange.lua
local state, last = state_of(lane), epoch .. " " .. job
local held = redis.call("HMGET", state, "epoch", "last")
if held[2] == last then
  return { 2 }
end
if held[1] ~= epoch then
  return { 0 }
end
local notes, changed = { 3 }, false
local jobs = redis.call("LRANGE", inbox_of(lane), 0, count - 1)
for number, one in ipairs(jobs) do
  local note = redis.call("HGET", state, "note:" .. job_in(one).turn.id) or ""
  notes[number + 1] = note
  changed = changed or note ~= known[number]
end
if changed then
  return notes
end
local added = exchange.said and append(messages, memory, forks, following, exchange)
if added == 2 then
  return { 4 }
elseif added == 0 then
  -- The conversation was forgotten while this was answered: it cannot be asked again either.
  for _, one in ipairs(jobs) do
    redis.call("HDEL", of_type("hash", retries), job_in(one).turn.id)
  end
end
if #jobs > 0 then
  count_tokens(job_in(jobs[#jobs]).scopes, tokens)
end
if dead ~= "" then
  move_first_to_dead_letters(lane, count, dead)
end
if #jobs == 0 then
  close_turn(string.match(job, "^(.*)#%d+$") or job) -- its lane was lost; it is done with all the same
end
end_first_jobs(lane, count, last)
return { 1 }
