-- Edits and deletions in a thread that were noted for messages which are not stored yet, and how many there ever were.
--
-- takes    state, changed: keys
-- returns  that number, entries as JSON
return {
  redis.call("HGET", of_type("hash", state), "noted") or "0", redis.call("LRANGE", of_type("list", changed), 0, -1),
}
