"""What Slack says when it refuses, as Parley's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError

from core.errors import MessageGone, PlatformError, PlatformUnauthorized, PlatformUnavailable, RateLimited

GONE = {
    "message_not_found",
    "thread_not_found",
    "channel_not_found",
    "is_archived",
    "is_inactive",
    "not_in_channel",
    "user_not_in_channel",
    "restricted_action",
}
UNAUTHORIZED = {
    "account_inactive",
    "invalid_auth",
    "not_authed",
    "not_allowed_token_type",
    "missing_scope",
    "token_expired",
    "token_revoked",
}
PASSING = {"fatal_error", "internal_error", "request_timeout", "service_unavailable", "team_added_to_org"}


@contextmanager
def slack_errors(method: str) -> Iterator[None]:
    """Turn whatever a call of the Web API raises into a PlatformError that names the method and Slack's word for it."""
    try:
        yield
    except SlackApiError as error:
        raise _translate(method, error) from None
    except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise PlatformUnavailable(f"{method}: {type(error).__name__}", code="unreachable") from None


def _translate(method: str, error: SlackApiError) -> PlatformError:
    response = error.response
    status = getattr(response, "status_code", 200)
    code = (response.get("error") if hasattr(response, "get") else None) or f"http_{status}"
    said = f"{method}: {code}"
    if status == 429 or code in {"ratelimited", "rate_limited"}:
        retry_after = float(getattr(response, "headers", {}).get("Retry-After", 1))
        return RateLimited(said, code=code, retry_after=retry_after)
    if code in GONE:
        return MessageGone(said, code=code)
    if code in UNAUTHORIZED:
        needed = response.get("needed") if code == "missing_scope" else None
        remedy = f"add the scope {needed} and reinstall the app" if needed else "check SLACK_BOT_TOKEN"
        return PlatformUnauthorized(said, code=code, remedy=remedy)
    if status >= 500 or code in PASSING:
        return PlatformUnavailable(said, code=code)
    return PlatformError(said, code=code)
