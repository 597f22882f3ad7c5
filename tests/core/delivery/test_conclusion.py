"""The end of an answer is shown whole, once it is written down, in one way or another."""

from __future__ import annotations

import asyncio

from core.delivery.delivery import Delivery
from core.delivery.draft import Draft
from core.delivery.surface import Pace
from core.errors import MessageGone, PlatformError, PlatformUnavailable, RateLimited
from core.pacing.budget import CallBudget
from core.types import Ending, MessageRef, Outcome
from tests.core.delivery.platform import DONE, Platform, pace, start
from tests.waiting import UNHURRIED, wait_until


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
