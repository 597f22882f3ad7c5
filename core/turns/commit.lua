-- End a turn: what was said goes into the memory and the turn leaves its lane, together or not at all.
--
-- KEYS  messages, state and forks of the conversation (or none, where nothing is remembered)
-- ARGV  lane, epoch, last job, number of turns, tokens used, why it is a dead letter ("" if it is not), the notes that the
--       worker knows (one for each turn), then what ``append`` takes
-- returns  {1} if done, {2} if it was done before, {0} if another worker has the lane, {3, notes…} if there is more to know
local lane, epoch, job, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local state, last = state_of(ARGV[1]), ARGV[2] .. " " .. ARGV[3]
local known = redis.call("HMGET", state, "epoch", "last")
if known[2] == last then
  return { 2 }
end
if known[1] ~= epoch then
  return { 0 }
end
local notes, changed = { 3 }, false
local jobs = redis.call("LRANGE", inbox_of(lane), 0, count - 1)
for number, one in ipairs(jobs) do
  local note = redis.call("HGET", state, "note:" .. job_in(one).turn.id) or ""
  notes[number + 1] = note
  changed = changed or note ~= ARGV[6 + number]
end
if changed then
  return notes
end
if #KEYS > 0 and append(KEYS, { unpack(ARGV, 7 + count) }) == 0 then
  -- The conversation was forgotten while this was answered: it cannot be asked again either.
  for _, one in ipairs(jobs) do
    redis.call("HDEL", of_kind("hash", (string.gsub(KEYS[1], "messages$", "retries"))), job_in(one).turn.id)
  end
end
if #jobs > 0 then
  count_tokens(job_in(jobs[#jobs]).scopes, number_in(ARGV[5], 0))
end
if ARGV[6] ~= "" then
  bury_first(lane, count, ARGV[6])
end
if #jobs == 0 then
  close_turn(string.match(job, "^(.*)#%d+$") or job) -- its lane was lost; it is done with all the same
end
finish(lane, count, last)
return { 1 }
