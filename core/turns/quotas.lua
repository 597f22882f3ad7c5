-- What a person, a channel or a workspace has asked for, and how much that may be. ``limits`` are, from index ``first`` on
-- and for each quota: scope, turns a minute, tokens a day, turns that wait ("" for no limit).

-- Why nothing more may be asked now, as a script answers it: {-2, number of the quota, "turns" | "tokens" | "queued",
-- seconds until it works again, its scope}; nil if it may be. What is counted already, as ``member``, is let through.
local function over_quota(limits, first, member)
  local time = now()
  local today = "tokens:" .. math.floor(time / 86400000)
  for index = first, #limits, 4 do
    local scope, number = limits[index], (index - first) / 4
    local turns, tokens, queued = tonumber(limits[index + 1]), tonumber(limits[index + 2]), tonumber(limits[index + 3])
    if queued then
      local open = quota_of(scope, "open")
      redis.call("ZREMRANGEBYSCORE", open, "-inf", string.format("%.0f", time - TTL * 1000)) -- nobody ended them
      if redis.call("ZCARD", open) >= queued then
        return { -2, number, "queued", 0, scope }
      end
    end
    if tokens and number_in(redis.call("GET", quota_of(scope, today)), 0) >= tokens then
      return { -2, number, "tokens", math.ceil((86400000 - time % 86400000) / 1000), scope }
    end
    if turns then
      local recent = quota_of(scope, "turns")
      redis.call("ZREMRANGEBYSCORE", recent, "-inf", time - 60000)
      redis.call("ZREMRANGEBYSCORE", recent, "(" .. string.format("%.0f", time + 60000), "+inf")
      if redis.call("ZCARD", recent) >= turns and not redis.call("ZSCORE", recent, member) then
        local oldest = number_in(redis.call("ZRANGE", recent, 0, 0, "WITHSCORES")[2], time)
        return { -2, number, "turns", math.min(60, math.max(1, math.ceil((oldest + 60000 - time) / 1000))), scope }
      end
    end
  end
end

-- Count a turn as ``member`` of what was asked in the last minute and, if it is ``queued``, of what waits.
local function count_turn(limits, first, member, queued)
  local time = now()
  for index = first, #limits, 4 do
    if limits[index + 1] ~= "" then
      local recent = quota_of(limits[index], "turns")
      redis.call("ZADD", recent, time, member)
      redis.call("EXPIRE", recent, 60)
    end
    if queued and limits[index + 3] ~= "" then
      local open = quota_of(limits[index], "open")
      redis.call("ZADD", open, time, member)
      redis.call("EXPIRE", open, TTL)
    end
  end
end

-- Count tokens that a model took today; ``scopes`` are separated by spaces.
local function count_tokens(scopes, tokens)
  if tokens <= 0 then
    return
  end
  local day = math.floor(now() / 86400000)
  for scope in string.gmatch(scopes, "%S+") do
    local key = quota_of(scope, "tokens:" .. day)
    local used = math.min(number_in(redis.call("GET", key), 0) + tokens, MOST_NUMBER - 1)
    redis.call("SET", key, string.format("%.0f", used), "EX", 2 * 86400)
  end
end
