"""The messages of one reply: what each shows now, and the platform calls that change them, each within its budget."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

import structlog

from core import metrics
from core.delivery.draft import Draft
from core.delivery.retries import retry_call, telling_refusals
from core.delivery.surface import FallbackEditor, MessageEditor, Pace
from core.errors import MessageGone, NotAllowed, PlatformError
from core.pacing import CallBudget
from core.types import MessageRef, Outcome

log = structlog.get_logger()


class Messages:
    """The messages of one reply, in order.

    Calls that show a growing text are previews: each waits for a free call of the budget, but no longer than the draft
    grows. Calls that show a final text are always made, the last of them with the edit that was reserved for it.

    Args:
        draft: The text; a preview waits no longer than it grows.
        editor: Where the messages are written.
        pace: The budgets that posts and edits draw from.
        earlier: Messages of an earlier reply to the same question, written over before anything is posted.
    """

    def __init__(self, draft: Draft, editor: MessageEditor, pace: Pace, earlier: Sequence[MessageRef] = ()) -> None:
        self.refs: list[MessageRef] = []
        self.shown: list[str] = []
        """What each of ``refs`` shows now."""
        self.spare = deque(earlier)
        """Messages of an earlier reply that nothing was written over yet."""
        self.target: MessageRef | None = None
        """The message that the last final call edits; None if it posts one."""
        self.thinking = False
        """Whether the only message says that the model is thinking."""
        self.reserved = False
        """Whether the edit that will show the end is sure."""
        self._draft = draft
        self._editor = editor
        self._pace = pace
        self._final: set[int] = set()
        self._replaced: list[MessageRef] = []
        self._edited_at = 0.0
        self._begun_at = time.monotonic()

    async def reserve_last_edit(self) -> bool:
        """Make sure of the edit that will show the end. False if the draft ended before one was free."""
        return await self.while_growing(self._reserve_last_edit())

    async def _reserve_last_edit(self) -> None:
        await self._pace.edits.reserve()
        self.reserved = True  # at once: who is cancelled now still gives it back

    def release_last_edit(self) -> None:
        """Give the reserved edit back, if it was not made."""
        if self.reserved:
            self.reserved = False
            self._pace.edits.release()

    async def while_growing(self, wait: Coroutine[Any, Any, None]) -> bool:
        """Wait for something, but no longer than the draft grows. Whether it came; if both did, it did."""
        waiting = asyncio.ensure_future(wait)
        end = asyncio.ensure_future(self._draft.closed())
        try:
            await asyncio.wait({waiting, end}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
                return True
            return False
        finally:
            for task in (waiting, end):
                task.cancel()
            await asyncio.gather(waiting, end, return_exceptions=True)

    async def pause(self) -> None:
        """Let the platform's least interval pass since the last edit, or the draft end."""
        loop = asyncio.get_running_loop()
        seconds = max(0.0, self._edited_at + self._editor.limits.interval - loop.time())
        await self.while_growing(asyncio.sleep(seconds))

    async def show(self, place: int, text: str, *, growing: bool) -> None:
        """Edit one message as a preview, unless it shows that text already or the end comes first."""
        if self._is_stale(place, text, growing) and await self.while_growing(self._ready(self._pace.edits)):
            await self._edit(self.refs[place], text, growing=growing)
            self._note(place, text, growing)
            if self.thinking:
                self.thinking = False
                self._first_seen()

    async def think(self, text: str) -> None:
        """Say in a first message that the model is thinking."""
        self.thinking = await self._begin(text, growing=True)

    async def post(self, text: str, *, growing: bool) -> bool:
        """Begin the next message. False if the text was to grow, and its end came first: the end shows it."""
        begun = await self._begin(text, growing=growing)
        if begun and len(self.refs) == 1:
            self._first_seen()
        return begun

    async def complete(self, place: int, text: str) -> None:
        """Make sure that a message before the last shows its final text."""
        self.target = self.refs[place] if place < len(self.refs) else None
        if place == len(self.refs):
            await self.post(text, growing=False)
        elif self._is_stale(place, text, growing=False):
            await self._pay()
            await self._edit(self.refs[place], text, growing=False)
            self._note(place, text, growing=False)

    async def finish(self, parts: Sequence[str], outcome: Outcome, whole: str) -> None:
        """The last call of a reply, with the edit that was reserved for it. See ``MessageEditor.finish``."""
        last = max(len(parts), 1) - 1
        missing = len(self.refs) <= last
        # In the place of an earlier reply's message, if that is still there.
        adopted = [self.spare[0]] if missing and self.spare else []
        self.target = adopted[0] if adopted else None if missing else self.refs[last]
        posts = missing and not adopted
        budget = self._pace.posts if posts else self._pace.edits
        if posts or not self.reserved:
            await budget.take()
        else:
            await budget.unblocked()
        first = self.thinking or not self.refs
        finish = partial(self._editor.finish, whole=whole) if whole else self._editor.finish
        try:
            with telling_refusals(budget):
                self.refs = list(await finish((*self.refs, *adopted), parts, outcome))
        except MessageGone:
            if not adopted:
                raise
            self.spare.popleft()
            return await self.finish(parts, outcome, whole)
        if adopted:
            self.spare.popleft()
        if first:
            self._first_seen()
        if self.reserved and not posts:
            self.reserved = False
            budget.spend()
        return None

    def keep(self, count: int) -> None:
        """Have the reply no more than ``count`` messages: what the others showed was retracted."""
        while len(self.refs) > count:
            self.spare.append(self.refs.pop())
            self.shown.pop()

    def replace(self, ref: MessageRef | None) -> bool:
        """Have new messages stand for one that cannot be changed, and for those after it. False if that cannot be."""
        if not ref or not (isinstance(self._editor, FallbackEditor) and self._editor.fall_back(anew=True)):
            return False
        if ref in self.refs:
            place = self.refs.index(ref)
            self._replaced += self.refs[place:]
            del self.refs[place:], self.shown[place:]
            self._final = {final for final in self._final if final < place}
            self.thinking = self.thinking and place > 0
        elif ref in self.spare:
            self.spare.remove(ref)
            self._replaced.append(ref)
        return True

    def give_up_unfinished(self) -> None:
        """Have everything removed that could still be stopped; messages of an earlier reply stay."""
        self._replaced += [ref for place, ref in enumerate(self.refs) if place not in self._final]
        self.spare.clear()

    async def remove_the_rest(self) -> None:
        """Take away messages that are not needed: of an earlier reply, and those that could not be changed."""
        for refs, say in ((list(self.spare), log.info), (self._replaced, log.warning)):
            for ref in refs:
                try:
                    await retry_call(partial(self._editor.remove, ref))
                except PlatformError as fault:
                    if not isinstance(fault, MessageGone):
                        say("old message not removed", code=fault.code)
        self.spare.clear()
        self._replaced = []

    async def _ready(self, budget: CallBudget) -> None:
        """Wait until a call of a preview may be made."""
        await budget.take()
        if self._pace.ready:
            await self._pace.ready()

    def _is_stale(self, place: int, text: str, growing: bool) -> bool:
        """Whether a message shows something else, or can be stopped although it is final."""
        return self.shown[place] != text or not (growing or place in self._final)

    def _first_seen(self) -> None:
        """Something of the reply is there to be seen, for the first time."""
        metrics.TIME_TO_FIRST_EDIT.observe(time.monotonic() - self._begun_at)

    def _note(self, place: int, text: str, growing: bool) -> None:
        """Remember what a message shows now."""
        self.shown[place:] = [text, *self.shown[place + 1 :]]
        (self._final.discard if growing else self._final.add)(place)

    async def _edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        """One edit, already paid for."""
        self._edited_at = asyncio.get_running_loop().time()
        with telling_refusals(self._pace.edits):
            await self._editor.edit(ref, text, growing=growing)

    async def _begin(self, text: str, *, growing: bool) -> bool:
        """Put a text where an earlier reply's message is, if there is one; else post it."""
        part = len(self.refs)
        while self.spare:
            if not growing:
                await self._pay()
            elif not await self.while_growing(self._pace.edits.take()):
                return False
            try:
                await self._edit(self.spare[0], text, growing=growing)
            except MessageGone:
                self.spare.popleft()  # somebody deleted it since; a place that is gone is noticed when we post
                continue
            except NotAllowed:
                if not self.replace(self.spare[0]):
                    raise
                continue
            self.refs.append(self.spare.popleft())
            self._note(part, text, growing)
            return True
        if not growing:
            await self._pace.posts.take()
        elif not await self.while_growing(self._ready(self._pace.posts)):
            return False
        self._edited_at = asyncio.get_running_loop().time()
        with telling_refusals(self._pace.posts):
            self.refs.append(await self._editor.post(text, part, growing=growing))
        self._note(part, text, growing)
        return True

    async def _pay(self) -> None:
        """Pay for an edit: with a free one while the reply grows, with the one that was reserved once it has ended.

        Nobody may wait for a free edit with one in hand: twenty who do would wait for each other.
        """
        if not self._draft.outcome and await self.while_growing(self._pace.edits.take()):
            return
        if self.reserved:
            await self._pace.edits.unblocked()
            self.reserved = False
            self._pace.edits.spend()
        else:
            await self._pace.edits.take()
