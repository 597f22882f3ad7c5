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
ADVICE = "Copy the Bot User OAuth Token (xoxb-…) from api.slack.com/apps > OAuth & Permissions into SLACK_BOT_TOKEN."
PASSING = {"fatal_error", "internal_error", "request_timeout", "service_unavailable", "team_added_to_org"}


@contextmanager
def slack_errors(method: str) -> Iterator[None]:
    """Turn whatever a call of the Web API raises into a PlatformError that names the method and Slack's word for it."""
    try:
        yield
    except SlackApiError as error:
        raise _translate(method, error) from None
    except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError, ValueError, AttributeError) as error:
        # AttributeError: the SDK's own, for an answer that is text where it expects an object.
        raise PlatformUnavailable(f"{method}: {type(error).__name__}", code="unreachable") from None


def _translate(method: str, error: SlackApiError) -> PlatformError:
    response = error.response
    status = int(getattr(response, "status_code", None) or getattr(response, "status", None) or 200)
    data = getattr(response, "data", None)
    answer = data if isinstance(data, dict) else {}
    if status != 429 and "ok" not in answer:  # not Slack's own words: a gateway's, or a proxy's
        return PlatformUnavailable(f"{method}: http_{status}", code=f"http_{status}")
    code = answer.get("error") or f"http_{status}"
    said = f"{method}: {code}"
    if status == 429 or code in {"ratelimited", "rate_limited"}:
        retry_after = float(getattr(response, "headers", {}).get("Retry-After", 1))
        return RateLimited(said, code=code, retry_after=retry_after)
    if code in GONE:
        return MessageGone(said, code=code)
    if code in UNAUTHORIZED:
        needed = answer.get("needed") if code == "missing_scope" else None
        remedy = f"Add the scope {needed} and install the app again." if needed else ADVICE
        return PlatformUnauthorized(said, code=code, remedy=remedy)
    if status >= 500 or code in PASSING:
        return PlatformUnavailable(said, code=code)
    return PlatformError(said, code=code)
