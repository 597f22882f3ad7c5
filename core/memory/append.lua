-- Add an exchange to a conversation.
--
-- takes    messages, memory, forks, following, exchange: see exchange.lua
-- returns  1 if added, 0 if the conversation was forgotten meanwhile, 2 if what was read may have changed
return append(messages, memory, forks, following, exchange)
