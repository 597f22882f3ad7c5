"""Discord: an adapter over the core."""
