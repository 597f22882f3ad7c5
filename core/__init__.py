"""Parley's core: from a message to an answer that grows. It imports no platform's library and nothing of ``bots``."""
