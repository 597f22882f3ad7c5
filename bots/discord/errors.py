"""What Discord says when it refuses, as Parley's errors.

Codes are those of docs.discord.com, topics/opcodes-and-status-codes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.errors import (
    MessageGone,
    NotAllowed,
    PlatformError,
    PlatformUnauthorized,
    PlatformUnavailable,
    RateLimited,
    wait_seconds,
)

UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK, UNKNOWN_INTERACTION, INVALID_WEBHOOK_TOKEN = "10008", "10015", "10062", "50027"
ARCHIVED, OLD_MESSAGE, THREAD_EXISTS, ACKNOWLEDGED = "50083", "30046", "160004", "40060"
NO_HISTORY = "160002"
GONE = {
    "10003",  # unknown channel
    "10004",  # unknown guild
    UNKNOWN_MESSAGE,
    UNKNOWN_WEBHOOK,
    UNKNOWN_INTERACTION,
    INVALID_WEBHOOK_TOKEN,
}
FORBIDDEN = {"50001", "50013"}
"""Missing access, missing permissions."""
NOT_ALLOWED = {
    *FORBIDDEN,
    "50003",  # cannot do this in a channel of that type
    "50005",  # a message of somebody else
    "50007",  # they take no direct messages
    "50008",  # not in a voice channel
    ARCHIVED,
    "50278",  # they take no direct messages of somebody with whom they share no server
    "160005",  # a locked thread
}
BLOCKED = {"20031", "200000", "240000"}
"""Words or links that a server, or Discord, does not let through."""
ADVICE = "Copy the token from discord.com/developers > your application > Bot > Reset Token into DISCORD_TOKEN."
RIGHTS = "Give Parley's role View Channel, Send Messages, Send Messages in Threads and Read Message History there."


def translate(what: str, status: int, headers: Mapping[str, str], body: bytes) -> PlatformError:
    """The error for a refused call, from the answer as it came. Nothing of a message's text is in it."""
    data = _read(body)
    number = data.get("code")
    known = str(number) if isinstance(number, int) and number else ""
    said = f"{what}: {status}" + (f" (code {known})" if known else "")
    code = known or f"http_{status}"
    if code == OLD_MESSAGE:  # a 429, but one that lasts
        return NotAllowed(said, code=code)
    if status == 429:
        retry_after = data.get("retry_after") or headers.get("Retry-After")
        return RateLimited(said, code=code, retry_after=wait_seconds(retry_after))
    if status == 401 and code not in GONE:
        return PlatformUnauthorized(said, code=code, remedy=ADVICE)
    if code in NOT_ALLOWED or (status == 403 and code not in BLOCKED):
        return NotAllowed(said, code=code, remedy=RIGHTS)
    kind = MessageGone if code in GONE else PlatformUnavailable if status >= 500 else PlatformError
    return kind(said, code=code)


def is_global(headers: Mapping[str, str]) -> bool:
    """Whether a refusal is of all calls of the bot."""
    return headers.get("X-RateLimit-Global", "").lower() == "true" or headers.get("X-RateLimit-Scope") == "global"


def _read(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        return {}  # a gateway's page, or Cloudflare's
    return data if isinstance(data, dict) else {}
