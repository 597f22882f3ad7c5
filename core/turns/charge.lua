-- Count tokens that a model took beside the queue.
--
-- ARGV  scopes separated by spaces, tokens
count_tokens(ARGV[1], number_in(ARGV[2], 0))
