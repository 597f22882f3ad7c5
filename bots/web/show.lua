-- Put what is shown of a turn on the board of a conversation, and tell those who look at it. What was begun before the
-- conversation was forgotten is not shown afterwards: the memory will not have it either.
--
-- KEYS  board, state
-- ARGV  turn's id, entry as JSON ("" takes it away), "1" if only where there is none, seconds to live, most entries,
--       channel on which changes are told, epoch of the conversation in which it was begun ("" for any)
-- returns  1; 0 if there was one already; -1 if the conversation was forgotten since
local board, turn, entry, ttl, most = of_kind("hash", KEYS[1]), ARGV[1], ARGV[2], ARGV[4], tonumber(ARGV[5])
if ARGV[7] ~= "" and epoch_in(KEYS[2]) ~= ARGV[7] then
  return -1
end
if ARGV[3] == "1" and redis.call("HEXISTS", board, turn) == 1 then
  return 0
end
if entry == "" then
  redis.call("HDEL", board, turn)
else
  redis.call("HSET", board, turn, entry)
end
redis.call("EXPIRE", board, ttl)
if redis.call("HLEN", board) > most * 1.25 then
  local ages = {}
  local all = redis.call("HGETALL", board)
  for index = 1, #all, 2 do
    ages[#ages + 1] = { number_in((decode(all[index + 1]) or {}).at, 0), all[index] }
  end
  table.sort(ages, function(one, other) return one[1] < other[1] end)
  for index = 1, #ages - most do
    redis.call("HDEL", board, ages[index][2])
  end
end
redis.call("PUBLISH", ARGV[6], board .. " " .. turn)
return 1
