-- What is known of a thread that Parley follows. ``person`` is a digest of the only one who spoke there, until ``several``
-- did: no id is stored.
local function digest_of(following, person)
  return redis.sha1hex(following .. " " .. person)
end

-- Somebody spoke in a thread.
--
-- following: its key; person: their id
local function note_person(following, person)
  local digest = digest_of(following, person)
  local first = redis.call("HGET", following, "person")
  if not first then
    redis.call("HSET", following, "person", digest)
  elseif first ~= digest then
    redis.call("HSET", following, "several", "1")
  end
end

-- A question was accepted: Parley answers in a thread that it opens, with its author alone; of another thread, it is known
-- who spoke there once the question is answered (see exchange.lua).
--
-- asked  person: its author; opens: whether the thread is opened for it; ttl: seconds to live. Empty outside threads.
local function note_question(following, asked)
  if asked.ttl then
    of_type("hash", following)
    if asked.opens then
      redis.call("HSET", following, "joined", "1", "known", "1")
    end
    if asked.person ~= "" then
      note_person(following, asked.person)
    end
    redis.call("EXPIRE", following, asked.ttl)
  end
end
