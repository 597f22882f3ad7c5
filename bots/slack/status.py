"""The status that Slack shows in a thread while an app works, "Parley is thinking"."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.errors import NO_SCOPE, UNREADABLE, slack_errors
from core.errors import MessageGone, NotAllowed, PlatformError, PlatformUnauthorized, PlatformUnavailable
from core.pacing import CallBudgets
from core.turns import TAKEN_OVER
from core.types import Turn

log = structlog.get_logger()

STATUS_TIMEOUT = 3
"""Seconds that a status may take; nothing depends on it."""
CLEAR_TIMEOUT = 4
"""Seconds to clear the status: less than a process that ends gives an answer to clean up after itself."""
_NO_SUCH_METHOD = re.compile(rf"http_(?:[23]\d\d|4(?!08|29)\d\d|501)|{UNREADABLE}")
"""What a proxy says that does not know a method, or has no JSON to say."""


class Status:
    """The status that Slack shows while an app works; switched off for good where the workspace does not have it."""

    def __init__(self, client: AsyncWebClient, budgets: CallBudgets) -> None:
        self._client = client
        self._budgets = budgets
        self._works = True

    @asynccontextmanager
    async def shown_for(self, turn: Turn) -> AsyncIterator[None]:
        """Show the status while inside, where Slack shows one now; what happens inside does not wait for it."""
        begun = asyncio.create_task(self._begin(turn)) if self._works else None
        # The worker that had the turn before may have died with the status on: it is cleared, whatever the budget says.
        left_on = self._works and TAKEN_OVER in turn.place
        try:
            yield
        finally:
            # Slack clears the status on its own only after an hour; it may show it although the call seemed to fail.
            with suppress(TimeoutError):
                async with asyncio.timeout(CLEAR_TIMEOUT):
                    if ((begun and await begun) or left_on) and not await self._set(turn, "active", last=True):
                        await self._set(turn, "active", last=True)

    async def _begin(self, turn: Turn) -> bool:
        """Whether the status may be set now."""
        # 50 a minute for the workspace, tier 3; two for each answer.
        name = f"slack:{turn.key.workspace}:agents.sessions.setStatus"
        budget = self._budgets.open(name, capacity=20, per_second=0.5)
        return await budget.spare(2) and await self._set(turn, "processing")

    async def _set(self, turn: Turn, status: str, *, last: bool = False) -> bool:
        """Whether the status may be set now; of the ``last`` one, whether it is."""
        try:
            with slack_errors("agents.sessions.setStatus"):
                await asyncio.wait_for(
                    self._client.agents_sessions_setStatus(
                        channel_id=turn.place["channel"], thread_ts=turn.place["thread"], status=status
                    ),
                    STATUS_TIMEOUT,
                )
        except PlatformError as error:
            self._works = _may_work_later(error)
            log.info("status not shown", code=error.code, again=self._works)
            return self._works and isinstance(error, PlatformUnavailable) and not last
        return True


def _may_work_later(error: PlatformError) -> bool:
    """Whether a status may be shown another time: "not_authorized", "feature_disabled" and the like mean never."""
    if _NO_SUCH_METHOD.fullmatch(error.code) or error.code in NO_SCOPE:
        return False
    # A refusal for now, in one place, or of a token that can be put right, is no reason to give up.
    return error.retryable or isinstance(error, (MessageGone, NotAllowed, PlatformUnauthorized))
