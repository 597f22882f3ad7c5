"""Chooses what the model sees of a conversation: pure, and the same on every worker.

A window is cut in steps. When a conversation outgrows its room, it is cut to about half of that at once, and the id of
the first message that stays is stored as the ``cut``. Until the next step every prompt begins with the same text, which
a server's prefix cache can serve; dropping one message at a time would change the beginning of every prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from core.model_types import ModelLimits, PromptWindow
from core.prompts.guard import guard
from core.prompts.messages import day
from core.prompts.quoting import FACTS_ID, ROOM_ID, SUMMARY_ID, facts_block, room_block, summary_block
from core.prompts.tokens import MESSAGE_OVERHEAD, TokenCounter, estimate_tokens, message_tokens
from core.quotes import Quote
from core.types import Conversation, Message, Role

SHARE_KEPT = 0.5
"""Share of the room that the kept messages fill after a cut."""
DATE_TOKENS = 16
"""Tokens of a date."""
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

    The window never exceeds ``budget.prompt`` tokens, as ``count`` counts them. What people told Parley to remember
    comes first, then a summary of earlier messages; they take at most a quarter of the room. What was said in the
    channel stands before the question, and takes at most an eighth. The kept messages begin with a person's, if there
    is one. A question that is larger than the room on its own is shortened: its quotes first, each in its middle, and
    then its text. A system prompt that would take more than half of the room is shortened too.

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
    asked = shorten_message(question, room - DATE_TOKENS, count)
    shortened = asked != question
    question = replace(asked, tokens=message_tokens(asked, count))
    spare = room - question.tokens - DATE_TOKENS
    first = _memorized(conversation, min(room // 4, spare), count)
    spare -= sum(block.tokens for block in first)
    messages = conversation.messages
    last = _overheard(conversation.room, (*messages, question), min(room // 8, spare), count)
    room -= sum(block.tokens for block in (*first, *last))
    cost = question.tokens + DATE_TOKENS
    start, costs, fits = _newest_that_fit(messages, conversation.cut, room - cost, count)
    cut = messages[start].id if start < len(messages) and messages[start].id == conversation.cut else ""
    if not fits:
        start = _first_kept(messages, costs, start, int(room * step) - cost - DATE_TOKENS)
        cut = messages[start].id if start < len(messages) else question.id
        costs = costs[len(costs) - len(messages) + start :]
    if last and start:  # with the names that its people have in this window
        last = _overheard(conversation.room, (*messages[start:], question), last[0].tokens, count)
    tokens = budget.prompt - room + sum(costs) + cost
    return Fit(PromptWindow(system, (*first, *messages[start:], *last, question)), cut, shortened, tokens)


def _memorized(conversation: Conversation, room: int, count: TokenCounter) -> list[Message]:
    """Facts and summary as the first messages: all of the facts, if half of ``room`` is left for a summary."""

    def newest(kept: int) -> str:
        chosen = {fact.number for fact in by_age[len(by_age) - kept :]}
        return facts_block([fact for fact in facts if fact.number in chosen], len(facts) - kept)

    def notes(kept: int) -> str:
        return summary_block(_without_middle(summary, kept) if 2 * kept < len(summary) else summary)

    facts, summary = conversation.facts, conversation.summary
    by_age = sorted(facts, key=lambda fact: fact.at)
    wanted = _cost(notes(len(summary)), count) if summary else 0
    told = _most(newest, len(facts), room - min(wanted, room // 2), count) if facts else []
    blocks = [_block(FACTS_ID, text, count) for text in told]
    room -= sum(block.tokens for block in blocks)
    noted = _most(notes, (len(summary) + 1) // 2, room, count, least=1) if summary else []
    return [*blocks, *(_block(SUMMARY_ID, text, count) for text in noted)]


def _overheard(said: Sequence[Message], window: Iterable[Message], room: int, count: TokenCounter) -> list[Message]:
    """What was said in the channel as one message: as much of the newest as there is room for."""
    if not said:
        return []
    others = [message.author for message in window if message.author]

    def newest(kept: int) -> str:
        return room_block(said[len(said) - kept :], others)

    def shortened(tokens: int) -> str:
        return room_block([shorten_message(said[-1], tokens, count)], others)

    texts = _most(newest, len(said), room, count, least=1) or _most(shortened, room, room, count)
    return [_block(ROOM_ID, text, count) for text in texts]


def _most(make: Callable[[int], str], most: int, room: int, count: TokenCounter, *, least: int = 0) -> list[str]:
    """The text that ``make`` makes of the greatest number that fits into ``room``; empty if not even ``least`` does."""
    if least > most or room <= MESSAGE_OVERHEAD:
        return []
    make = cache(make)

    @cache
    def fits(number: int) -> bool:
        return _cost(make(number), count) <= room

    number = most if fits(most) else _greatest(fits, least, most)
    return [make(number)] if fits(number) else []


def _greatest(fits: Callable[[int], bool], least: int, most: int) -> int:
    """The greatest number that fits; ``least`` if none does."""
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if fits(middle) else (least, middle - 1)
    return least


def _cost(block: str, count: TokenCounter) -> int:
    return count(block) + MESSAGE_OVERHEAD


def _block(name: str, text: str, count: TokenCounter) -> Message:
    return Message(Role.SYSTEM, text, id=name, tokens=_cost(text, count))


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
    kept = _greatest(lambda kept: count(_without_middle(text, kept)) <= room, 0, len(text) // 2)
    return _without_middle(text, kept) if kept else ""


def shorten_message(message: Message, room: int, count: TokenCounter = estimate_tokens) -> Message:
    """Leave out the middles of its quotes, and then of its text, until it takes at most ``room`` tokens of a prompt."""

    def cost(said: Message) -> int:
        return message_tokens(said, count)

    def quoting(kept: int) -> tuple[Quote, ...]:
        return tuple(_shorter(quote, kept) for quote in message.quotes)

    def saying(kept: int) -> Message:
        return replace(quoted, text=_without_middle(message.text, kept) if kept else "")

    if cost(message) <= room:
        return message
    left = room - cost(replace(message, quotes=()))
    alone = replace(message, text="", author=None)
    longest = max((len(quote.text) for quote in message.quotes), default=0)
    if left > 0:
        kept = _greatest(lambda kept: cost(replace(alone, quotes=quoting(kept))) <= left, 0, longest // 2)
        quoted = replace(message, quotes=quoting(kept))
        if cost(quoted) <= room:
            return quoted
    quoted = replace(message, quotes=quoting(0))
    if cost(saying(0)) > room // 2:
        quoted = replace(message, quotes=())
    if cost(quoted) <= room:
        return quoted
    return saying(_greatest(lambda kept: cost(saying(kept)) <= room, 0, len(message.text) // 2))


def _shorter(quote: Quote, kept: int) -> Quote:
    return replace(quote, text=_without_middle(quote.text, kept).strip()) if 2 * kept < len(quote.text) else quote


def _without_middle(text: str, kept: int) -> str:
    return f"{text[:kept]}\n[… {len(text) - 2 * kept:,} characters left out …]\n{text[len(text) - kept :]}"
