"""What Slack says when it refuses, as Parley's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError

from core.causes import cause
from core.errors import (
    MessageGone,
    NotAllowed,
    PlatformError,
    PlatformUnauthorized,
    PlatformUnavailable,
    RateLimited,
    wait_seconds,
)

GONE = {"message_not_found", "thread_not_found"}
NOT_ALLOWED = {
    "access_denied",
    "cannot_reply_to_message",
    "cant_delete_message",
    "cant_update_message",
    "channel_not_found",  # also a private channel that we are not in (any more)
    "edit_window_closed",
    "ekm_access_denied",
    "is_archived",
    "is_inactive",
    "messages_tab_disabled",
    "method_not_supported_for_channel_type",
    "no_permission",
    "not_in_channel",
    "team_access_not_granted",
    "user_not_in_channel",
}
"""The place does not take this call, whatever the text."""
RESTRICTED = "restricted_action"
"""The beginning of what a workspace's own rules are called: read-only channels, locked threads and the like."""
NO_SCOPE = {"missing_scope", "not_allowed_token_type"}
"""The token is good, but not for this call."""
UNAUTHORIZED = {
    *NO_SCOPE,
    "account_inactive",
    "invalid_auth",
    "not_authed",
    "token_expired",
    "token_revoked",
}
PLACE_ADVICE = "Invite Parley to that channel, and let it post and edit there (the channel's posting permissions)."
ADVICE = "Copy the Bot User OAuth Token (xoxb-…) from api.slack.com/apps > OAuth & Permissions into SLACK_BOT_TOKEN."
UNREADABLE = "unreadable"
"""What came back is not what Slack says."""
PASSING = {"fatal_error", "internal_error", "request_timeout", "service_unavailable", "team_added_to_org"}


@contextmanager
def slack_errors(method: str) -> Iterator[None]:
    """Turn whatever a call of the Web API raises into a PlatformError that names the method and Slack's word for it."""
    try:
        yield
    except SlackApiError as error:
        raise _translate(method, error) from None
    except (AttributeError, KeyError, TypeError, ValueError):
        # AttributeError: the SDK's own, for an answer that is text where it expects an object.
        raise PlatformUnavailable(f"{method}: an answer that can't be read", code=UNREADABLE) from None
    except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError) as error:
        raise PlatformUnavailable(f"{method}: {cause(error)}", code="unreachable") from None


def _translate(method: str, error: SlackApiError) -> PlatformError:
    response = error.response
    status = int(getattr(response, "status_code", None) or getattr(response, "status", None) or 200)
    data = getattr(response, "data", None)
    answer = data if isinstance(data, dict) else {}
    if status != 429 and "ok" not in answer:  # not Slack's own words: a gateway's, or a proxy's
        return PlatformUnavailable(f"{method}: http_{status}", code=f"http_{status}")
    code = str(answer.get("error") or f"http_{status}")
    said = f"{method}: {code}"
    headers = getattr(response, "headers", None) or {}
    if status == 429 or code in {"ratelimited", "rate_limited"}:
        return RateLimited(said, code=code, retry_after=wait_seconds(headers.get("Retry-After")))
    if code in UNAUTHORIZED:
        needed = answer.get("needed") if code == "missing_scope" else None
        remedy = f"Add the scope {needed} and install the app again." if needed else ADVICE
        return PlatformUnauthorized(said, code=code, remedy=remedy)
    if code in NOT_ALLOWED or code.startswith(RESTRICTED):
        return NotAllowed(said, code=code, remedy=PLACE_ADVICE)
    passing = status >= 500 or code in PASSING
    kind = MessageGone if code in GONE else PlatformUnavailable if passing else PlatformError
    return kind(said, code=code)
