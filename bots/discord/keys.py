"""What Discord's adapter keeps in Redis for itself."""

from __future__ import annotations

from core.store import Keys, StoredKey

STORED = (
    StoredKey("discord:commands", "string", "a hash of the commands as they were registered", "400 days"),
    StoredKey("discord:alive", "string", "when we last heard all of Discord", "7 days"),
    StoredKey("discord:places", "zset", "direct messages and threads in use", "7 days after the last one"),
    StoredKey("discord:servers", "set", "servers that the bot was on when that was looked at last", "400 days"),
    StoredKey("discord:bots:<channel>", "string", "answers to other bots there", "10 minutes"),
    StoredKey(
        "discord:about:<interaction>",
        "string",
        "a message while somebody writes what they want to know of it",
        "15 minutes",
    ),
)


def discord_key(what: str) -> str:
    """The name of one of these keys, such as ``alive``."""
    return Keys.own("discord", what)
