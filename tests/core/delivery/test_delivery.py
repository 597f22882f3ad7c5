"""A draft reaches people early, in order, at the platform's pace, and whole."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from core.delivery.delivery import Delivery, deliver
from core.delivery.draft import Draft
from core.delivery.surface import Pace
from core.errors import MessageGone, PlatformError, PlatformUnavailable, RateLimited
from core.pacing.budget import CallBudget
from core.types import Ending, Limits, MessageRef, Outcome
from tests.waiting import UNHURRIED, wait_until

DONE = Outcome(Ending.COMPLETE)
SMALL = Limits(size=100, interval=0.0)


@dataclass
class Platform:
    """A small platform: keeps what each message showed over time, and can be slow or refuse."""

    limits: Limits = SMALL
    history: dict[str, list[str]] = field(default_factory=dict)
    outcome: Outcome | None = None
    removed: list[str] = field(default_factory=list)
    growing: dict[str, bool] = field(default_factory=dict)
    errors: list[PlatformError] = field(default_factory=list)
    never: str = ""
    """What it takes no text with."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    at_work: bool | None = None
    in_flight: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def shown(self) -> list[str]:
        """What each message shows now."""
        return [versions[-1] for versions in self.history.values()]

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        self.at_work = True
        yield
        self.at_work = False

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        await self._call("post", text)
        ref = MessageRef("C1", str(len(self.history)))
        self.history[ref.id] = [text]
        self.growing[ref.id] = growing
        return ref

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        await self._call("edit", text)
        self.history[ref.id].append(text)
        self.growing[ref.id] = growing

    async def finish(
        self, refs: Sequence[MessageRef], parts: Sequence[str], outcome: Outcome, *, whole: str = ""
    ) -> tuple[MessageRef, ...]:
        text = parts[-1] if parts else outcome.note
        if len(refs) < max(len(parts), 1):
            refs = (*refs, await self.post(text, len(refs), growing=False))
        else:
            await self.edit(refs[max(len(parts), 1) - 1], text, growing=False)
        self.outcome = outcome
        return tuple(refs)

    async def remove(self, ref: MessageRef) -> None:
        await self._call("remove")
        self.removed.append(ref.id)

    async def find(self, part: int) -> MessageRef | None:
        refs = [MessageRef("C1", name) for name in self.history]
        return refs[part] if part < len(refs) else None

    async def _call(self, name: str, text: str = "") -> None:
        self.calls[name] += 1
        assert not self.in_flight, "two calls for one reply at the same time"
        self.in_flight += 1
        try:
            await self.gate.wait()
            if self.errors:
                raise self.errors.pop(0)
            if self.never and self.never in text:
                raise PlatformError("invalid_blocks", code="invalid_blocks")
        finally:
            self.in_flight -= 1


def pace(*, posts: float = 1000, edits: float = 1000, refill: float = 1000, first_words: float = 0.0) -> Pace:
    """Budgets that never bind, unless a test says so."""
    return Pace(CallBudget(posts, refill), CallBudget(edits, refill), first_words)


def start(
    draft: Draft, platform: Platform, how: Pace | None = None, refs: Sequence[MessageRef] = ()
) -> asyncio.Task[tuple[MessageRef, ...]]:
    """Deliver in the background."""
    return asyncio.create_task(deliver(draft, platform, how or pace(), refs=refs))


async def test_the_first_words_are_posted_early_and_the_end_is_whole() -> None:
    """People watch it grow; the last version is the text as it was generated."""
    draft, platform = Draft(), Platform()
    delivery = start(draft, platform)
    draft.append("Hello")
    await wait_until(lambda: platform.shown == ["Hello"])
    assert platform.at_work
    draft.append(", **wor")
    await wait_until(lambda: platform.shown == ["Hello, **wor**"], description="a healed preview")
    draft.append("ld**!")
    draft.close(DONE)
    await delivery
    assert platform.shown == ["Hello, **world**!"]
    assert platform.outcome is DONE
    assert platform.at_work is False


async def test_first_words_are_gathered_for_a_moment_or_until_there_are_enough() -> None:
    """The first post is what a phone shows."""
    draft, platform = Draft(), Platform()
    delivery = start(draft, platform, pace(first_words=30))
    draft.append("One")
    await asyncio.sleep(0)
    assert platform.shown == []
    draft.append(" sentence of more than thirty characters.")
    await wait_until(lambda: platform.shown)
    draft.close(DONE)
    await delivery


async def test_a_short_answer_is_posted_once_and_complete() -> None:
    """Nothing to edit where all of it is there at once."""
    draft, platform = Draft(), Platform()
    draft.append("Yes.")
    draft.close(DONE)
    await start(draft, platform)
    assert platform.calls == {"post": 1}


async def test_a_slow_edit_never_holds_back_the_model_and_the_newest_text_wins() -> None:
    """While one edit is on its way, any number of tokens may come; the next edit shows them all."""
    draft, platform = Draft(), Platform(Limits(size=10_000, interval=0.0))
    delivery = start(draft, platform)
    draft.append("a")
    await wait_until(lambda: platform.shown)
    platform.gate.clear()
    draft.append("b")
    await wait_until(lambda: platform.in_flight)
    for _ in range(1000):
        draft.append("c")
    assert len(draft) == 1002
    platform.gate.set()
    draft.close(DONE)
    await delivery
    assert platform.history["0"] == ["a", "ab", "ab" + "c" * 1000]


async def test_a_long_answer_goes_on_in_further_messages() -> None:
    """Each is frozen when the next begins, and none of the text is lost."""
    text = "".join(f"Sentence number {i} of a long answer. " for i in range(40))
    draft, platform = Draft(), Platform()
    delivery = start(draft, platform)
    for i in range(0, len(text), 7):
        draft.append(text[i : i + 7])
        await asyncio.sleep(0)
    draft.close(DONE)
    refs = await delivery
    assert "".join(platform.shown) == text
    assert all(len(shown) <= 100 for versions in platform.history.values() for shown in versions)
    assert len(refs) == len(platform.shown)


async def test_a_refusal_for_now_costs_freshness_and_no_text() -> None:
    """Retry-After is waited for, once, and then the newest text is shown."""
    loop = asyncio.get_running_loop()
    draft, platform = Draft(), Platform()
    delivery = start(draft, platform)
    draft.append("a")
    await wait_until(lambda: platform.shown)
    platform.errors.append(RateLimited("429", retry_after=0.1))
    refused_at = loop.time()
    draft.append("b")
    await wait_until(lambda: not platform.errors)
    draft.append("c")
    draft.close(DONE)
    await delivery
    assert platform.history["0"] == ["a", "abc"]
    assert loop.time() - refused_at >= 0.1


async def test_a_refusal_of_the_very_end_is_waited_for() -> None:
    """The last edit shows all of the text."""
    draft, platform = Draft(), Platform()
    delivery = start(draft, platform)
    draft.append("a")
    await wait_until(lambda: platform.shown)
    platform.errors += [
        RateLimited("429", retry_after=0.02),
        PlatformUnavailable("503"),
        RateLimited("429", retry_after=0.02),
    ]
    draft.append("b")
    draft.close(DONE)
    await delivery
    assert platform.shown == ["ab"]


async def test_a_preview_that_the_platform_will_not_take_does_not_stop_the_answer() -> None:
    """The end has another chance."""
    draft, platform = Draft(), Platform()
    delivery = start(draft, platform)
    draft.append("a")
    await wait_until(lambda: platform.shown)
    platform.errors.append(PlatformError("invalid_blocks", code="invalid_blocks"))
    draft.append("b")
    await wait_until(lambda: not platform.errors)
    draft.append("c")
    draft.close(DONE)
    await delivery
    assert platform.shown == ["abc"]


async def test_a_deleted_reply_ends_the_delivery() -> None:
    """There is nothing left to write to."""
    draft, platform = Draft(), Platform()
    delivery = start(draft, platform)
    draft.append("a")
    await wait_until(lambda: platform.shown)
    platform.errors.append(MessageGone("message_not_found"))
    draft.append("b")
    with pytest.raises(MessageGone):
        await delivery


async def test_where_no_last_edit_is_to_be_had_the_reply_is_posted_once_and_whole() -> None:
    """A hundred answers at once must not promise edits that the platform will refuse."""
    how = pace(edits=1, refill=0.0001)
    first, second = Draft(), Draft()
    platform, other = Platform(), Platform()
    one = start(first, platform, how)
    first.append("first ")
    await wait_until(lambda: platform.shown)
    two = start(second, other, Pace(CallBudget(10, 10), how.edits, 0.0))
    second.append("second ")
    second.append("answer")
    await asyncio.sleep(0)
    assert other.shown == []
    second.close(DONE)
    await two
    assert other.history == {"0": ["second answer"]}
    first.append("answer")
    first.close(DONE)
    await one
    assert platform.history["0"] == ["first ", "first answer"]


async def test_an_answer_without_text_says_why() -> None:
    """The note is the reply."""
    draft, platform = Draft(), Platform()
    draft.close(Outcome(Ending.FAILED, "The model is away.", retry=True))
    await start(draft, platform)
    assert platform.shown == ["The model is away."]


async def test_a_second_try_writes_over_the_messages_of_the_first() -> None:
    """And takes away what it no longer needs."""
    draft, platform = Draft(), Platform()
    platform.history = {"0": ["old"], "1": ["old"], "2": ["old"]}
    delivery = start(draft, platform, refs=[MessageRef("C1", name) for name in "012"])
    draft.append("new text")
    await wait_until(lambda: platform.history["0"][-1] == "new text")
    draft.close(DONE)
    refs = await delivery
    assert platform.removed == ["1", "2"]
    assert [ref.id for ref in refs] == ["0"]
    assert platform.calls["post"] == 0


async def test_a_second_try_passes_over_messages_that_were_deleted_since() -> None:
    """Its words go into what is left of the first, or into a new message."""
    draft, platform = Draft(), Platform()
    platform.history = {"0": ["old"], "1": ["old"]}
    platform.errors.append(MessageGone("message_not_found"))
    delivery = start(draft, platform, refs=[MessageRef("C1", name) for name in "01"])
    draft.append("new text")
    await wait_until(lambda: platform.history["1"][-1] == "new text")
    draft.close(DONE)
    refs = await delivery
    assert [ref.id for ref in refs] == ["1"]
    assert platform.shown == ["old", "new text"]


async def test_twenty_who_write_over_earlier_replies_do_not_wait_for_each_other() -> None:
    """Each pays its end with what it reserved."""
    how = pace(edits=20, refill=20)
    how.edits.refused(0.1)
    drafts, platforms = [Draft() for _ in range(20)], [Platform() for _ in range(20)]
    for platform in platforms:
        platform.history = {"0": ["old"]}
    deliveries = [
        start(draft, platform, how, [MessageRef("C1", "0")]) for draft, platform in zip(drafts, platforms, strict=True)
    ]
    for draft in drafts:
        draft.append("new words ")
    await wait_until(lambda: how.edits._reserved == 20, description="all that the budget has, in hand")
    for draft in drafts:
        draft.append("end")
        draft.close(DONE)
    await asyncio.wait_for(asyncio.gather(*deliveries), UNHURRIED)
    assert all(platform.shown == ["new words end"] for platform in platforms)
    await asyncio.wait_for(how.edits.take(), UNHURRIED)


async def test_an_end_that_the_platform_will_never_take_is_said() -> None:
    """Under what people see, with a way to try again."""
    draft, platform = Draft(), Platform()
    delivery = start(draft, platform)
    draft.append("a")
    await wait_until(lambda: platform.shown)
    platform.errors.append(PlatformError("msg_blocks_too_long", code="msg_blocks_too_long"))
    draft.append("b")
    draft.close(DONE)
    await delivery
    assert platform.outcome
    assert (platform.outcome.ending, platform.outcome.retry) == (Ending.INTERRUPTED, True)
    assert platform.shown == ["a"]


async def test_a_part_that_the_platform_will_never_take_is_said_too() -> None:
    """As of the last part: what people see stands until the end is written down, and nothing grows any more."""
    draft, platform = Draft(), Platform(never="odd")
    with Delivery(draft, platform, pace()) as delivery:
        growing = asyncio.create_task(delivery.grow())
        draft.append("The beginning. ")
        await wait_until(lambda: platform.shown)
        draft.append("Something odd. " + "Many words. " * 30)
        draft.close(DONE)
        await growing
        assert platform.outcome is None
        await delivery.conclude()
    assert platform.outcome
    assert platform.outcome.retry
    assert platform.shown == ["The beginning. "]
    assert platform.growing == {"0": False}


async def test_nobody_sees_the_end_before_it_is_written_down() -> None:
    """All messages but the last are whole by then, so what is written down names them."""
    draft, platform = Draft(), Platform()
    draft.append("Many words. " * 30)
    draft.close(DONE)
    with Delivery(draft, platform, pace()) as delivery:
        await delivery.grow()
        before = list(platform.shown)
        assert [ref.id for ref in delivery.refs] == [str(number) for number in range(len(before))]
        assert (platform.outcome, "".join(before) in draft.text) == (None, True)
        await delivery.conclude()
    assert platform.outcome == DONE
    assert platform.shown[:-1] == before


async def test_a_message_that_cannot_be_removed_does_not_spoil_the_answer() -> None:
    """It stays where it is."""
    draft, platform = Draft(), Platform()
    platform.history = {"0": ["old"], "1": ["old"]}
    delivery = start(draft, platform, refs=[MessageRef("C1", name) for name in "01"])
    draft.append("new")
    await wait_until(lambda: platform.history["0"][-1] == "new")
    draft.close(DONE)
    await wait_until(lambda: platform.outcome)
    platform.errors.append(PlatformError("cant_delete_message", code="cant_delete_message"))
    assert [ref.id for ref in await delivery] == ["0"]


async def test_nothing_stays_reserved_when_a_delivery_is_cancelled() -> None:
    """Budgets are for everybody."""
    how = pace(edits=1, refill=0.0001)
    draft, platform = Draft(), Platform()
    delivery = start(draft, platform, how)
    draft.append("a")
    await wait_until(lambda: platform.shown)
    delivery.cancel()
    await asyncio.gather(delivery, return_exceptions=True)
    await asyncio.wait_for(how.edits.reserve(), UNHURRIED)


THINKS = Limits(size=100, interval=0.0, thinking="thinking …")


async def test_a_model_that_reasons_for_long_is_said_to() -> None:
    """In the message that the answer then takes the place of; its last edit is reserved before."""
    draft, platform = Draft(), Platform(THINKS)
    how = Pace(CallBudget(10, 0.001), CallBudget(2, 0.001), 0.0, thinking=0.0)
    delivery = start(draft, platform, how)
    draft.think()
    await wait_until(lambda: platform.shown == ["thinking …"])
    assert platform.growing == {"0": True}
    draft.append("an ")
    await wait_until(lambda: platform.shown == ["an "])
    draft.append("answer")
    draft.close(DONE)
    await delivery
    assert platform.history == {"0": ["thinking …", "an ", "an answer"]}


async def test_who_reasons_briefly_or_not_at_all_is_not_announced() -> None:
    """Nor is one whose thoughts come to nothing left to think for ever."""
    for reasons in (False, True):
        draft, platform = Draft(), Platform(THINKS)
        delivery = start(draft, platform, Pace(CallBudget(9, 9), CallBudget(9, 9), 0.0, thinking=60.0))
        if reasons:
            draft.think()
        draft.append("words")
        draft.close(DONE)
        await delivery
        assert platform.history == {"0": ["words"]}
    draft, platform = Draft(), Platform(THINKS)
    delivery = start(draft, platform, Pace(CallBudget(9, 9), CallBudget(9, 9), 0.0, thinking=0.0))
    draft.think()
    await wait_until(lambda: platform.shown)
    draft.close(Outcome(Ending.STOPPED, "Stopped."))
    await delivery
    assert platform.history == {"0": ["thinking …", "Stopped."]}
