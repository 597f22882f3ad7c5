-- End a turn: what was said goes into the memory and the turn leaves its lane, together or not at all.
--
-- KEYS  messages, state and forks of the conversation (or none, where nothing is remembered)
-- ARGV  lane, epoch, last job, number of turns, tokens used, why it is a dead letter ("" if it is not), most dead letters,
--       the notes that the worker knows (one for each turn), then what ``append`` takes
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
  local note = redis.call("HGET", state, "note:" .. cjson.decode(one).turn.id) or ""
  notes[number + 1] = note
  changed = changed or note ~= ARGV[7 + number]
end
if changed then
  return notes
end
if #KEYS > 0 then
  append(KEYS, { unpack(ARGV, 8 + count) })
end
local tokens = tonumber(ARGV[5])
if tokens > 0 then
  local day = math.floor(now() / 86400000)
  for scope in string.gmatch(cjson.decode(jobs[#jobs]).scopes, "%S+") do
    local key = P .. "quota:" .. scope .. ":tokens:" .. day
    redis.call("INCRBY", key, tokens)
    redis.call("EXPIRE", key, 2 * 86400)
  end
end
if ARGV[6] ~= "" then
  bury(lane, count, ARGV[6], tonumber(ARGV[7]))
end
finish(lane, count, last)
return { 1 }
