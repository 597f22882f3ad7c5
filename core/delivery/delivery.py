"""From a draft that grows to messages that people watch: newest text wins, and the end is always whole.

One edit is in flight at a time, and the next one carries the newest text, so a slow platform costs freshness and
never holds back the model. The first words go out early, because the first post is what a phone shows; edits
notify nobody. When the text outgrows a message, that message gets its final form and the next one begins. Previews
show healed Markdown; the end shows the text as it was generated.

A platform may refuse a call for good. A preview that is refused is left out. The end is shown in another way then: in
a plainer form, or in new messages where those that are there cannot be changed, which are deleted afterwards, so that
no Stop button stays.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from core import metrics
from core.delivery.draft import Draft
from core.delivery.surface import FallbackEditor, MessageEditor, Pace
from core.errors import MessageGone, NotAllowed, PlatformError, PlatformUnauthorized, PlatformUnavailable, RateLimited
from core.markdown import Splitter, heal
from core.pacing import CallBudget
from core.types import Ending, MessageRef, Outcome

log = structlog.get_logger()

FIRST_WORDS = 30
"""So many characters are posted at once, however little time they took to gather."""
ATTEMPTS = 8
"""Calls that fail for a passing reason are made so often before the delivery gives up."""
PATIENCE = 8.0
"""Seconds between two such calls at the most."""
MOST_FALLBACKS = 6
"""Ways in which an end is shown at the most, one after the other, where each of them is refused."""
REFUSED = Outcome(Ending.INTERRUPTED, "The rest of this answer can't be shown here. Try again.", retry=True)


BeforeTheEnd = Callable[[Sequence[MessageRef], Outcome], Awaitable[None]]
"""Called with the messages so far, before people see how a reply ended."""


async def deliver(
    draft: Draft,
    editor: MessageEditor,
    pace: Pace,
    *,
    refs: Sequence[MessageRef] = (),
    before_the_end: BeforeTheEnd | None = None,
) -> Delivery:
    """Show a draft while it grows, until its end is shown whole.

    ``refs`` are messages of an earlier reply to the same question; they are written over before anything is posted, and
    not before there is more to show than the draft's floor.

    Raises:
        MessageGone: the reply was deleted, or the place it stands in.
        NotAllowed: we may not reply there at all. Nothing of the reply is left with a Stop button, if it can be helped.
        PlatformError: the end could not be shown.
    """
    delivery = Delivery(draft, editor, pace, spare=deque(refs), before_the_end=before_the_end)
    await delivery.run()
    return delivery


@dataclass(slots=True)
class Delivery:
    """One reply on its way; ``refs`` are its messages so far and ``shown`` what each of them shows."""

    draft: Draft
    editor: MessageEditor
    pace: Pace
    spare: deque[MessageRef]
    before_the_end: BeforeTheEnd | None = None
    refs: list[MessageRef] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    _final: set[int] = field(default_factory=set)
    _replaced: list[MessageRef] = field(default_factory=list)
    """Messages that could not be changed: others were posted in their place."""
    _writing: MessageRef | None = None
    """The message that the last call of the end edits; None if it posts one."""
    _plainer: bool = False
    _more_than_fits: bool = False
    _thinking: bool = False
    _reserved: bool = False
    _edited_at: float = 0.0
    _begun_at: float = field(default_factory=time.monotonic)
    _splitter: Splitter = field(init=False)

    def __post_init__(self) -> None:
        self._splitter = Splitter(self.editor.limits)

    async def run(self) -> None:
        """Gather, show, finish."""
        try:
            async with self.editor.working():
                if self.spare:  # shown already, so it needs an edit to be put right; others may still be posted whole
                    await self._before_the_end(self._reserve_the_end())
                if self.editor.limits.thinking and not self.spare:
                    await self._think()
                await self._gather_first_words()
                await self._grow()
                await self._finish(await self.draft.closed())
        finally:
            if self._reserved:
                self.pace.edits.release()

    async def _think(self) -> None:
        """Where the model reasons for long before its first word, say so: people can wait for it then, or stop it."""
        await self.draft.begun()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.pace.thinking):
                await self.draft.grown(0)
        if self.draft.text or not await self._before_the_end(self._reserve_the_end()) or self.draft.text:
            return
        try:
            self._thinking = await self._begin(self.editor.limits.thinking, growing=True)
        except PlatformError as fault:
            self._preview_failed(fault)

    def _preview_failed(self, fault: PlatformError) -> None:
        """The end has another chance, unless there is no place for one."""
        if isinstance(fault, MessageGone) or (isinstance(fault, NotAllowed) and not self.refs):
            raise fault
        log.warning("preview failed", error=str(fault), code=fault.code)

    async def _gather_first_words(self) -> None:
        """Wait for the first text, and then for a little more of it."""
        floor = len(self.draft.floor)
        await self.draft.grown(floor)
        try:
            async with asyncio.timeout(self.pace.first_words):
                await self.draft.grown(floor + FIRST_WORDS - 1)
        except TimeoutError:
            pass

    async def _grow(self) -> None:
        """Show the newest text again and again, until there is no more to come."""
        if not (self._reserved or await self._before_the_end(self._reserve_the_end())):
            return  # the budget has no last edit to spare: the reply is posted once, whole
        while not self.draft.outcome:
            seen = len(self.draft)
            try:
                await self._preview()
            except PlatformError as fault:
                self._preview_failed(fault)
                if not fault.retryable:
                    return  # the platform will not take this text, or no edit, or not our token
            await self.draft.grown(seen)
            await self._before_the_end(self._pause())

    async def _preview(self) -> None:
        """Bring the messages up to the text as it is now."""
        texts = self._texts()
        if not texts:
            return  # all of it was retracted
        if self.editor.limits.heals:
            texts[-1] = heal(texts[-1])
        while len(self.refs) < len(texts):
            if self.refs:
                await self._show(len(self.refs) - 1, texts[len(self.refs) - 1], growing=False)
            text = texts[len(self.refs)]
            if not text.strip() or self.draft.outcome:
                return  # nothing to be seen yet, or the end shows it
            if not await self._post(text, growing=True):
                return
        await self._show(len(texts) - 1, texts[-1], growing=True)

    def _texts(self) -> list[str]:
        """What each message shows of the text so far, as many of them as there may be."""
        parts = self._splitter.parts(self.draft.text)
        most = self.editor.limits.messages or len(parts)
        self._more_than_fits = len(parts) > most
        return [part.text for part in parts[:most]]

    async def _show(self, place: int, text: str, *, growing: bool) -> None:
        """Edit one message, unless it shows that text already or the end comes first."""
        if self._stale(place, text, growing) and await self._before_the_end(self._ready(self.pace.edits)):
            await self._edit(self.refs[place], text, growing=growing)
            self._note(place, text, growing)
            if self._thinking:
                self._thinking = False
                self._first_seen()

    async def _ready(self, budget: CallBudget) -> None:
        """Wait until a call of a preview may be made."""
        await budget.take()
        if self.pace.ready:
            await self.pace.ready()

    def _stale(self, place: int, text: str, growing: bool) -> bool:
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
        with _told(self.pace.edits):
            await self.editor.edit(ref, text, growing=growing)

    async def _post(self, text: str, *, growing: bool) -> bool:
        """Begin the next message; False if the text was to grow, and its end came first: the end shows it."""
        begun = await self._begin(text, growing=growing)
        if begun and len(self.refs) == 1:
            self._first_seen()
        return begun

    async def _begin(self, text: str, *, growing: bool) -> bool:
        """Put a text where an earlier reply's message is, if there is one; else post it."""
        part = len(self.refs)
        while self.spare:
            if not growing:
                await self._pay()
            elif not await self._before_the_end(self.pace.edits.take()):
                return False
            try:
                await self._edit(self.spare[0], text, growing=growing)
            except MessageGone:
                self.spare.popleft()  # somebody deleted it since; a place that is gone is noticed when we post
                continue
            except NotAllowed:
                if not self._replace(self.spare[0]):
                    raise
                continue
            self.refs.append(self.spare.popleft())
            self._note(part, text, growing)
            return True
        if not growing:
            await self.pace.posts.take()
        elif not await self._before_the_end(self._ready(self.pace.posts)):
            return False
        self._edited_at = asyncio.get_running_loop().time()
        with _told(self.pace.posts):
            self.refs.append(await self.editor.post(text, part, growing=growing))
        self._note(part, text, growing)
        return True

    async def _pause(self) -> None:
        """Let the platform's least interval pass since the last edit."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._edited_at + self.editor.limits.interval - loop.time()))

    async def _finish(self, outcome: Outcome) -> None:
        """Show all of the text, and what there is to say about its end, in one way or another."""
        for attempt in range(1, MOST_FALLBACKS + 1):
            try:
                await self._show_the_end(outcome)
                break
            except MessageGone:
                raise
            except PlatformError as fault:
                await self._tell(outcome)
                if fault.retryable or isinstance(fault, PlatformUnauthorized):
                    raise
                log.warning("final edit refused", error=str(fault), code=fault.code, attempt=attempt)
                if attempt == MOST_FALLBACKS or not self._fall_back(fault):
                    await self._cut_short(fault)
                    break
        await self._remove_the_rest()

    async def _show_the_end(self, outcome: Outcome) -> None:
        parts = self._texts()
        while parts and not parts[-1].strip():
            parts.pop()  # white space makes no message
        while len(self.refs) > max(len(parts), 1):  # what they showed was retracted
            self.spare.append(self.refs.pop())
            self.shown.pop()
        whole = self.draft.text if self._more_than_fits else ""
        for place, text in enumerate(parts[:-1]):
            await self._insist(partial(self._complete, place, text))
        await self._tell(outcome)
        await self._insist(partial(self._conclude, parts, outcome, whole))

    def _fall_back(self, fault: PlatformError) -> bool:
        """After a refusal for good: get ready to show the end in another way. False if there is none.

        A text that is refused may be taken in a plainer form; an edit that still is, or is not allowed, as a post.
        """
        ref = self._writing
        if isinstance(fault, NotAllowed) and not ref:
            return False
        if ref and (self._plainer or isinstance(fault, NotAllowed)) and self._replace(ref):
            return True
        self._plainer = True
        if not (isinstance(self.editor, FallbackEditor) and self.editor.fall_back()):
            return bool(ref) and self._replace(ref)
        self._splitter = Splitter(self.editor.limits)
        return True

    def _replace(self, ref: MessageRef | None) -> bool:
        """Have new messages stand for one that cannot be changed, and for those after it. False if that cannot be."""
        if not ref or not (isinstance(self.editor, FallbackEditor) and self.editor.fall_back(anew=True)):
            return False
        if ref in self.refs:
            place = self.refs.index(ref)
            self._replaced += self.refs[place:]
            del self.refs[place:], self.shown[place:]
            self._final = {final for final in self._final if final < place}
            self._thinking = self._thinking and place > 0
        elif ref in self.spare:
            self.spare.remove(ref)
            self._replaced.append(ref)
        return True

    async def _cut_short(self, fault: PlatformError) -> None:
        """The end cannot be shown in any way: tell people under what they see, or leave nothing that can be stopped.

        Raises:
            PlatformError: people are not told by any message here.
        """
        if self.refs or not isinstance(fault, NotAllowed):
            shown = () if self._thinking else tuple(self.shown)
            try:
                return await self._insist(partial(self._conclude, shown, REFUSED, ""))
            except MessageGone:
                raise
            except PlatformError as again:
                if again.retryable:
                    raise
                log.warning("final edit refused", error=str(again), code=again.code)
        self._replaced += [ref for place, ref in enumerate(self.refs) if place not in self._final]
        self.spare.clear()
        await self._remove_the_rest()
        raise fault

    async def _tell(self, outcome: Outcome) -> None:
        """Let who wants to know, know of the end before people see it, once."""
        tell, self.before_the_end = self.before_the_end, None
        if tell:
            await tell(tuple(self.refs), outcome)

    async def _remove_the_rest(self) -> None:
        """Take away messages that are not needed: of an earlier reply, and those that could not be changed."""
        for refs, say in ((list(self.spare), log.info), (self._replaced, log.warning)):
            for ref in refs:
                try:
                    await self._insist(partial(self.editor.remove, ref))
                except PlatformError as fault:
                    if not isinstance(fault, MessageGone):
                        say("old message not removed", code=fault.code)
        self.spare.clear()
        self._replaced = []

    async def _complete(self, place: int, text: str) -> None:
        """Make sure that a message before the last shows its final text."""
        self._writing = self.refs[place] if place < len(self.refs) else None
        if place == len(self.refs):
            await self._post(text, growing=False)
        elif self._stale(place, text, growing=False):
            await self._pay()
            await self._edit(self.refs[place], text, growing=False)
            self._note(place, text, growing=False)

    async def _conclude(self, parts: Sequence[str], outcome: Outcome, whole: str) -> None:
        """The last call of a reply, with the edit that was reserved for it."""
        missing = len(self.refs) < max(len(parts), 1)
        # In the place of an earlier reply's message, if that is still there.
        adopted = [self.spare[0]] if missing and self.spare else []
        self._writing = adopted[0] if adopted else None if missing else self.refs[max(len(parts), 1) - 1]
        posts = missing and not adopted
        budget = self.pace.posts if posts else self.pace.edits
        if posts or not self._reserved:
            await budget.take()
        else:
            await budget.unblocked()
        first = self._thinking or not self.refs
        finish = partial(self.editor.finish, whole=whole) if whole else self.editor.finish
        try:
            with _told(budget):
                self.refs = list(await finish((*self.refs, *adopted), parts, outcome))
        except MessageGone:
            if not adopted:
                raise
            self.spare.popleft()
            return await self._conclude(parts, outcome, whole)
        if adopted:
            self.spare.popleft()
        if first:
            self._first_seen()
        if self._reserved and not posts:
            self._reserved = False
            budget.spend()
        return None

    async def _insist(self, call: Callable[[], Awaitable[None]]) -> None:
        """Call until it works; a fault that passes only delays it."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await call()
            except (RateLimited, PlatformUnavailable) as fault:
                if attempt == ATTEMPTS:
                    raise
                log.warning("platform call failed; retrying", error=str(fault), attempt=attempt)
                await asyncio.sleep(fault.retry_after or min(PATIENCE, 0.1 * 2**attempt))
            else:
                return

    async def _pay(self) -> None:
        """Pay for an edit: with a free one while the reply grows, with the one that was reserved once it has ended.

        Nobody may wait for a free edit with one in hand: twenty who do would wait for each other.
        """
        if not self.draft.outcome and await self._before_the_end(self.pace.edits.take()):
            return
        if self._reserved:
            await self.pace.edits.unblocked()
            self._reserved = False
            self.pace.edits.spend()
        else:
            await self.pace.edits.take()

    async def _reserve_the_end(self) -> None:
        """Make sure of the edit that will show the end."""
        await self.pace.edits.reserve()
        self._reserved = True

    async def _before_the_end(self, wait: Coroutine[Any, Any, None]) -> bool:
        """Wait for something, but no longer than the draft grows. Whether it came; if both did, it did."""
        waiting = asyncio.ensure_future(wait)
        end = asyncio.ensure_future(self.draft.closed())
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


@contextmanager
def _told(budget: CallBudget) -> Iterator[None]:
    """Let a budget know what the platform said of it; the caller still sees the refusal."""
    try:
        yield
    except RateLimited as refusal:
        metrics.RATE_LIMITED.add()
        log.info("rate limited", retry_after=refusal.retry_after)
        budget.refused(refusal.retry_after or 1.0)
        raise
