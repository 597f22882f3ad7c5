"""Chooses what the model sees of a conversation: pure, and the same on every worker.

A window is cut in steps. When a conversation outgrows its room, it is cut to about half of that at once, and the id of
the first message that stays is stored as the ``cut``. Until the next step every prompt begins with the same text, which
a server's prefix cache can serve; dropping one message at a time would change the beginning of every prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.model_types import ModelLimits, PromptWindow
from core.prompts.guard import guard
from core.prompts.messages import day
from core.prompts.tokens import MESSAGE_OVERHEAD, TokenCounter, estimate_tokens, message_tokens
from core.types import Conversation, Message, Role

SHARE_KEPT = 0.5
"""Share of the room that the kept messages fill after a cut."""
DATE_TOKENS = 16
"""Tokens of a date."""
SUMMARY_HEADING = "Notes of what was said here earlier, written by you and perhaps incomplete:\n"
"""The line before a summary in a prompt."""
TEMPLATE_MARGIN = 64
"""Tokens kept free for what a template adds: BOS, the date, the assistant's role."""


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """Tokens that a turn may use: ``prompt`` for what the model reads, ``answer`` for what it writes."""

    prompt: int
    answer: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A window that fits, the ``cut`` to store with it, and whether the question was shortened.

    ``tokens`` is its counted size.
    """

    window: PromptWindow
    cut: str
    shortened: bool
    tokens: int = 0


def split_context(limits: ModelLimits, max_new_tokens: int) -> TokenBudget:
    """Divide a model's context between prompt and answer; the answer gets at most half of it."""
    answer = max(1, min(max_new_tokens, limits.max_total_tokens // 2))
    prompt = min(limits.max_input_tokens, limits.max_total_tokens - answer) - TEMPLATE_MARGIN
    return TokenBudget(prompt=max(prompt, 1), answer=answer)


def fit(
    conversation: Conversation,
    question: Message,
    system: str,
    budget: TokenBudget,
    *,
    count: TokenCounter = estimate_tokens,
    step: float = SHARE_KEPT,
) -> Fit:
    """Choose what the model sees: the system prompt, the newest messages, and the question, always.

    The window never exceeds ``budget.prompt`` tokens, as ``count`` counts them. A summary of earlier messages comes
    first and takes at most a quarter of the room. The kept messages begin with a person's, if there is one. A question
    that is larger than the room on its own is shortened in its middle; so is a system prompt that would take more than
    half of the room.

    Args:
        conversation: What is remembered; ``conversation.cut`` is where the last window began.
        question: The message to answer.
        system: The system prompt.
        budget: In tokens.
        count: Counts the tokens of a text.
        step: Share of the room that is filled after a cut.
    """

    def guarded(text: str) -> int:
        return count(guard(text))

    system = shorten(system, budget.prompt // 2 - MESSAGE_OVERHEAD, guarded)
    room = budget.prompt - guarded(system) - MESSAGE_OVERHEAD
    name = count(question.author.name) if question.author else 0
    text = shorten(question.text, room - name - MESSAGE_OVERHEAD - DATE_TOKENS, guarded)
    shortened = text != question.text
    question = replace(question, text=text, tokens=0)
    question = replace(question, tokens=message_tokens(question, count))
    summary = _summary(conversation, room // 4, guarded)
    room -= sum(part.tokens for part in summary)
    messages = conversation.messages
    asked = question.tokens + DATE_TOKENS
    start, costs, fits = _newest_that_fit(messages, conversation.cut, room - asked, count)
    cut = messages[start].id if start < len(messages) and messages[start].id == conversation.cut else ""
    if not fits:
        start = _first_kept(messages, costs, start, int(room * step) - asked - DATE_TOKENS)
        cut = messages[start].id if start < len(messages) else question.id
        costs = costs[len(costs) - len(messages) + start :]
    tokens = budget.prompt - room + sum(costs) + asked
    return Fit(PromptWindow(system, (*summary, *messages[start:], question)), cut, shortened, tokens)


def _summary(conversation: Conversation, room: int, count: TokenCounter) -> list[Message]:
    """The summary as the first message; empty without a summary, or without room for it."""
    left = room - MESSAGE_OVERHEAD - count(SUMMARY_HEADING)
    text = shorten(conversation.summary, left, count) if conversation.summary else ""
    if not text:
        return []
    text = SUMMARY_HEADING + text
    return [Message(Role.SYSTEM, text, id="summary", tokens=count(text) + MESSAGE_OVERHEAD)]


def _newest_that_fit(
    messages: Sequence[Message], cut: str, room: int, count: TokenCounter
) -> tuple[int, list[int], bool]:
    """Where the messages after the last cut begin, the tokens of each, and whether all of them fit into ``room``.

    Looks backwards from the newest, and stops where the room is used up, however much is stored. Without a message of
    the id ``cut`` they begin with the first of all.
    """
    costs: list[int] = []
    spent, start = 0, len(messages)
    while start and not (cut and start < len(messages) and messages[start].id == cut):
        start -= 1
        message = messages[start]
        cost = message.tokens or message_tokens(message, count)
        # The first message of each day has a date.
        cost += DATE_TOKENS * (start == 0 or day(message.at) != day(messages[start - 1].at))
        costs.append(cost)
        spent += cost
        if spent + DATE_TOKENS > room:
            return start, costs[::-1], False
    return start, costs[::-1], True


def _first_kept(messages: Sequence[Message], costs: Sequence[int], first: int, room: int) -> int:
    """Index of the first message to keep: the kept ones cost at most ``room`` tokens and begin with a person's.

    ``costs`` are those of the messages from ``first`` on.
    """
    start = len(messages)
    while start > first and costs[start - first - 1] <= room:
        start -= 1
        room -= costs[start - first]
    while start < len(messages) and messages[start].role is not Role.USER:
        start += 1
    return start


def shorten(text: str, room: int, count: TokenCounter = estimate_tokens) -> str:
    """Leave out the middle of ``text`` until it has at most ``room`` tokens, and say so in its place."""
    if count(text) <= room:
        return text
    low, high = 0, len(text) // 2
    while low < high:
        kept = (low + high + 1) // 2
        low, high = (kept, high) if count(_without_middle(text, kept)) <= room else (low, kept - 1)
    return _without_middle(text, low) if low else ""


def _without_middle(text: str, kept: int) -> str:
    return f"{text[:kept]}\n[… {len(text) - 2 * kept:,} characters left out …]\n{text[-kept:]}"
