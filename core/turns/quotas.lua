-- What a person, a channel or a workspace has asked for, and how much that may be. ``limits`` has for each quota: scope,
-- and where there is such a limit: turns (a minute), tokens (a day), queued (turns that wait).

-- Why nothing more may be asked now, as a script answers it: {-2, number of the quota, "turns" | "tokens" | "queued",
-- seconds until it works again, its scope}; nil if it may be. What is counted already, as ``member``, is let through.
local function exceeded_quota(limits, member)
  local time = now()
  local today = "tokens:" .. math.floor(time / 86400000)
  for number, limit in ipairs(limits) do
    local scope = limit.scope
    if limit.queued then
      local open = quota_of(scope, "open")
      redis.call("ZREMRANGEBYSCORE", open, "-inf", string.format("%.0f", time - UNFINISHED_TTL * 1000)) -- nobody ended them
      if redis.call("ZCARD", open) >= limit.queued then
        return { -2, number - 1, "queued", 0, scope }
      end
    end
    if limit.tokens and number_in(redis.call("GET", quota_of(scope, today)), 0) >= limit.tokens then
      return { -2, number - 1, "tokens", math.ceil((86400000 - time % 86400000) / 1000), scope }
    end
    if limit.turns then
      local recent = quota_of(scope, "turns")
      redis.call("ZREMRANGEBYSCORE", recent, "-inf", time - 60000)
      redis.call("ZREMRANGEBYSCORE", recent, "(" .. string.format("%.0f", time + 60000), "+inf")
      if redis.call("ZCARD", recent) >= limit.turns and not redis.call("ZSCORE", recent, member) then
        local oldest = number_in(redis.call("ZRANGE", recent, 0, 0, "WITHSCORES")[2], time)
        return { -2, number - 1, "turns", math.min(60, math.max(1, math.ceil((oldest + 60000 - time) / 1000))), scope }
      end
    end
  end
end

-- Count a turn as ``member`` of what was asked in the last minute and, if it is ``queued``, of what waits.
local function count_turn(limits, member, queued)
  local time = now()
  for _, limit in ipairs(limits) do
    if limit.turns then
      local recent = quota_of(limit.scope, "turns")
      redis.call("ZADD", recent, time, member)
      redis.call("EXPIRE", recent, 60)
    end
    if queued and limit.queued then
      local open = quota_of(limit.scope, "open")
      redis.call("ZADD", open, time, member)
      redis.call("EXPIRE", open, UNFINISHED_TTL)
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
    local used = math.min(number_in(redis.call("GET", key), 0) + tokens, MAX_NUMBER - 1)
    redis.call("SET", key, string.format("%.0f", used), "EX", 2 * 86400)
  end
end
