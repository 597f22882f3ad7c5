"""What Discord says when it refuses, as Parley's errors.

Codes are those of docs.discord.com, topics/opcodes-and-status-codes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.errors import MessageGone, PlatformError, PlatformUnauthorized, PlatformUnavailable, RateLimited

UNKNOWN_MESSAGE, UNKNOWN_INTERACTION, INVALID_WEBHOOK_TOKEN = 10008, 10062, 50027
ARCHIVED, OLD_MESSAGE, THREAD_EXISTS, ACKNOWLEDGED = 50083, 30046, 160004, 40060
GONE = {
    10003,  # unknown channel
    10004,  # unknown guild
    UNKNOWN_MESSAGE,
    50001,  # missing access
    50013,  # missing permissions
    160005,  # locked thread
    INVALID_WEBHOOK_TOKEN,
    10015,  # unknown webhook
    UNKNOWN_INTERACTION,
}
FORBIDDEN = {50001, 50013}
ADVICE = "Copy the token from discord.com/developers > your application > Bot > Reset Token into DISCORD_TOKEN."
RIGHTS = "Give Parley's role View Channel, Send Messages, Send Messages in Threads and Read Message History there."


def translate(what: str, status: int, headers: Mapping[str, str], body: bytes) -> PlatformError:
    """The error for a refused call, from the answer as it came. Nothing of a message's text is in it."""
    data = _read(body)
    code = int(data.get("code") or 0)
    said = f"{what}: {status}" + (f" (code {code})" if code else "")
    word = str(code or f"http_{status}")
    if status == 429:
        told = data.get("retry_after") or headers.get("Retry-After") or 1
        return RateLimited(said, code=word, retry_after=float(told))
    if status >= 500:
        return PlatformUnavailable(said, code=word)
    if code in GONE:
        return MessageGone(said, code=word, remedy=RIGHTS if code in FORBIDDEN else "")
    if status == 401:
        return PlatformUnauthorized(said, code=word, remedy=ADVICE)
    return PlatformError(said, code=word, remedy=RIGHTS if status == 403 else "")


def is_global(headers: Mapping[str, str]) -> bool:
    """Whether a refusal is of all calls of the bot."""
    return headers.get("X-RateLimit-Global", "").lower() == "true" or headers.get("X-RateLimit-Scope") == "global"


def _read(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        return {}  # a gateway's page, or Cloudflare's
    return data if isinstance(data, dict) else {}
