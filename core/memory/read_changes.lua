-- The edits and deletions in a thread that were noted for messages that are not stored yet, and how many there ever were.
--
-- takes    state, changed: keys
-- returns  that number, entries as JSON
return {
  string.format("%.0f", noted_in(of_type("hash", state))), redis.call("LRANGE", of_type("list", changed), 0, -1),
}
