-- Count tokens that a model took beside the queue.
--
-- takes    scopes: separated by spaces; tokens
count_tokens(scopes, tokens)
