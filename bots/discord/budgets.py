"""How often Discord may be called, counted for all processes of a bot together: in a channel, and altogether.

A channel takes five messages and five edits in five seconds, and gives five pages of messages, as far as anybody has
seen. Discord does not promise these numbers (docs.discord.com, topics/rate-limits: "should not be hard-coded"), so
every answer corrects our count. Edits of one channel share them, whatever message is edited; an answer to a slash
command has its own, for as long as its token lives.
"""

from __future__ import annotations

from bots.discord.calls import SECOND, Answer
from core.pacing import CallBudget, CallBudgets

CALLS, SECONDS = 5, 5.0
MARGIN_SECONDS = 0.1
"""Seconds more, for calls that are longer on their way than the ones after them."""


class DiscordBudgets:
    """What one bot may do; ``application`` is its id."""

    def __init__(self, budgets: CallBudgets, application: int | None) -> None:
        self._budgets = budgets
        self._name = f"discord:{application}"

    def in_place(self, place: str) -> tuple[CallBudget, CallBudget]:
        """Posts and edits of a channel, or of an interaction's token."""
        posts, edits = f"{self._name}:{place}:posts", f"{self._name}:{place}:edits"
        window = self._budgets.open_window
        return window(posts, CALLS, SECONDS + MARGIN_SECONDS), window(edits, CALLS, SECONDS + MARGIN_SECONDS)

    def of_reading(self, place: str) -> CallBudget:
        """Pages of messages that are read of a channel or thread."""
        return self._budgets.open_window(f"{self._name}:{place}:reads", CALLS, SECONDS + MARGIN_SECONDS)

    def of_all_calls(self, per_second: int) -> CallBudget:
        """What ``bots.discord.calls`` counts: calls under way, and those of the last second."""
        return self._budgets.open_window(f"{self._name}:calls", per_second, SECOND)


def learn(budget: CallBudget, answer: Answer) -> None:
    """Discord said how many calls are left, and for how long that is all."""
    if answer.headers.get("X-RateLimit-Remaining") == "0":
        budget.refused(float(answer.headers.get("X-RateLimit-Reset-After") or SECONDS))
