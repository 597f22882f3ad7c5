-- Put what is shown of a turn on the board of a conversation, and tell those who look at it. What was begun before the
-- conversation was forgotten is not shown afterwards: the memory will not have it either.
--
-- takes    board, state: keys; turn: its id; entry: as JSON ("" takes it away); only_new: whether only where there is none;
--          ttl: seconds to live; most: entries; boards: channel on which changes are told; epoch: of the conversation when
--          it was begun ("" for any)
-- returns  1; 0 if there was one already; -1 if the conversation was forgotten since
of_type("hash", board)
if epoch ~= "" and epoch_in(state) ~= epoch then
  return -1
end
if only_new and redis.call("HEXISTS", board, turn) == 1 then
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
redis.call("PUBLISH", boards, board .. " " .. turn)
return 1
