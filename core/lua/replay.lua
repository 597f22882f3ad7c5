-- Take a dead letter out, and perhaps answer it once more.
--
-- KEYS  dead letters
-- ARGV  the letter as it stands, token, "1" to put its turn back into its lane
-- returns  1; 0 if it is gone
local letter, token = ARGV[1], ARGV[2]
if redis.call("LREM", KEYS[1], 1, letter) == 0 then
  return 0
end
if ARGV[3] == "1" then
  local at = string.find(letter, '"job":', 1, true)
  put_back(string.sub(letter, at + 6, -2), token)
end
return 1
