-- Add what was said: see exchange.lua.
return append(KEYS, ARGV)
