"""A draft's writer never waits, and its reader always sees the newest."""

from __future__ import annotations

import asyncio

from core.delivery.draft import Draft
from core.types import Ending, Outcome

DONE = Outcome(Ending.COMPLETE)


async def test_a_reader_sees_everything_that_was_written_between_two_looks() -> None:
    """However much that was."""
    draft = Draft()
    for _ in range(1000):
        draft.append("word ")
    await draft.grown(0)
    assert draft.text == "word " * 1000
    assert len(draft) == 5000


async def test_a_reader_wakes_for_more_text_and_for_the_end() -> None:
    """And for nothing else."""
    draft = Draft()
    reader = asyncio.create_task(draft.grown(5))
    draft.append("12345")
    await asyncio.sleep(0)
    assert not reader.done()
    draft.append("6")
    await reader
    reader = asyncio.create_task(draft.grown(100))
    draft.close(DONE)
    await reader
    assert await draft.closed() is DONE


async def test_what_an_earlier_try_showed_stands_alone_if_this_one_ends_before_it() -> None:
    """Nothing of a shorter text is added to it, read or not."""
    draft = Draft(floor="The old worker wrote this much.")
    draft.append("The new ")
    assert draft.text == "The new "
    draft.append("worker begins")
    draft.close(Outcome(Ending.STOPPED))
    assert draft.text == draft.best == "The old worker wrote this much."
    assert len(draft) == len(draft.text)


async def test_the_first_end_counts_and_nothing_is_added_after_it() -> None:
    """A stop is not undone by the model's end."""
    draft = Draft()
    draft.append("a")
    draft.close(Outcome(Ending.STOPPED))
    draft.append("b")
    draft.close(DONE)
    assert draft.text == "a"
    assert draft.outcome == Outcome(Ending.STOPPED)
