"""A draft reaches people early, in order, at the platform's pace."""

from __future__ import annotations

import asyncio

import pytest

from core.delivery.draft import Draft
from core.delivery.surface import Pace
from core.errors import MessageGone, PlatformError, RateLimited
from core.pacing.budget import CallBudget
from core.types import Ending, MessageLimits, Outcome
from tests.core.delivery.platform import DONE, Platform, pace, start
from tests.waiting import UNHURRIED, wait_until


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
    draft, platform = Draft(), Platform(MessageLimits(size=10_000, interval=0.0))
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


THINKS = MessageLimits(size=100, interval=0.0, thinking="thinking …")


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
