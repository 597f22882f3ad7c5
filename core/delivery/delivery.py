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
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from core.delivery.draft import Draft
from core.delivery.messages import Messages
from core.delivery.retries import retry_call
from core.delivery.surface import FallbackEditor, MessageEditor, Pace
from core.errors import MessageGone, NotAllowed, PlatformError, PlatformUnauthorized
from core.markdown import Splitter, heal
from core.types import Ending, MessageRef, Outcome

log = structlog.get_logger()

FIRST_WORDS = 30
"""Characters that are posted at once, however little time they took to gather."""
MOST_FALLBACKS = 6
"""Ways in which an end is shown at the most, one after the other, where each of them is refused."""
REFUSED = Outcome(Ending.INTERRUPTED, "The rest of this answer can't be shown here. Try again.", retry=True)


async def deliver(
    draft: Draft, editor: MessageEditor, pace: Pace, *, refs: Sequence[MessageRef] = ()
) -> tuple[MessageRef, ...]:
    """Show a draft while it grows, until its end is shown whole. Returns the messages of the reply.

    Args and errors are those of ``Delivery``.
    """
    async with editor.working():
        with Delivery(draft, editor, pace, refs) as delivery:
            await delivery.grow()
            await delivery.conclude()
    return delivery.refs


class Delivery:
    """One reply on its way to people, in two steps, so that its end can be written down before people see it.

    Example::

        with Delivery(draft, editor, pace) as delivery:
            await delivery.grow()  # until the draft has ended
            await write_down(draft.text, draft.outcome, delivery.refs)
            await delivery.conclude()  # now people see how it ended

    Args:
        draft: The text, which another task writes.
        editor: Where the reply is written.
        pace: The budgets that its posts and edits draw from; what is reserved of them is given back at the end.
        refs: Messages of an earlier reply to the same question; they are written over before anything is posted, and
            not before there is more to show than the draft's floor.

    Raises:
        MessageGone: The reply was deleted, or the place it stands in.
        NotAllowed: We may not reply there at all. Nothing of the reply is left with a Stop button, if it can be helped.
        PlatformError: The end could not be shown.
    """

    def __init__(self, draft: Draft, editor: MessageEditor, pace: Pace, refs: Sequence[MessageRef] = ()) -> None:
        self._draft = draft
        self._editor = editor
        self._pace = pace
        self._messages = Messages(draft, editor, pace, refs)
        self._splitter = Splitter(editor.limits)
        self._is_plain = False
        self._more_than_fits = False
        self._fault: PlatformError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._messages.release_last_edit()

    @property
    def refs(self) -> tuple[MessageRef, ...]:
        """The messages of the reply so far."""
        return tuple(self._messages.refs)

    async def grow(self) -> None:
        """Show the draft while it grows; at its end, all messages but the last show their final text.

        A refusal of these is no reason not to write down how it ended: ``conclude`` deals with it.
        """
        messages = self._messages
        if messages.spare:  # shown already, so it needs an edit to be put right; others may still be posted whole
            await messages.reserve_last_edit()
        elif self._editor.limits.thinking:
            await self._show_thinking()
        await self._gather_first_words()
        await self._show_newest()
        await self._draft.closed()
        try:
            await self._complete()
        except MessageGone:
            raise
        except PlatformError as fault:
            self._fault = fault

    async def conclude(self) -> None:
        """Show all of the text, and what there is to say about its end, in one way or another."""
        outcome = await self._draft.closed()
        for attempt in range(1, MOST_FALLBACKS + 1):
            try:
                await self._show_the_end(outcome)
                break
            except MessageGone:
                raise
            except PlatformError as fault:
                if fault.retryable or isinstance(fault, PlatformUnauthorized):
                    raise
                log.warning("final edit refused", error=str(fault), code=fault.code, attempt=attempt)
                if attempt == MOST_FALLBACKS or not self._fall_back(fault):
                    await self._cut_short(fault)
                    break
        await self._messages.remove_the_rest()

    async def _show_thinking(self) -> None:
        """Where the model reasons for long before its first word, say so: people can wait for it then, or stop it."""
        draft, messages = self._draft, self._messages
        await draft.begun()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.thinking):
                await draft.grown(0)
        if draft.text or not await messages.reserve_last_edit() or draft.text:
            return
        try:
            await messages.think(self._editor.limits.thinking)
        except PlatformError as fault:
            self._preview_failed(fault)

    def _preview_failed(self, fault: PlatformError) -> None:
        """The end has another chance, unless there is no place for one."""
        if isinstance(fault, MessageGone) or (isinstance(fault, NotAllowed) and not self._messages.refs):
            raise fault
        log.warning("preview failed", error=str(fault), code=fault.code)

    async def _gather_first_words(self) -> None:
        """Wait for the first text, and then for a little more of it."""
        floor = len(self._draft.floor)
        await self._draft.grown(floor)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.first_words):
                await self._draft.grown(floor + FIRST_WORDS - 1)

    async def _show_newest(self) -> None:
        """Show the newest text again and again, until there is no more to come."""
        draft, messages = self._draft, self._messages
        if not (messages.reserved or await messages.reserve_last_edit()):
            return  # the budget has no last edit to spare: the reply is posted once, whole
        while not draft.outcome:
            seen = len(draft)
            try:
                await self._preview()
            except PlatformError as fault:
                self._preview_failed(fault)
                if not fault.retryable:
                    return  # the platform will not take this text, or no edit, or not our token
            await draft.grown(seen)
            await messages.pause()

    async def _preview(self) -> None:
        """Bring the messages up to the text as it is now."""
        texts, messages = self._texts(), self._messages
        if not texts:
            return  # all of it was retracted
        if self._editor.limits.heals:
            texts[-1] = heal(texts[-1])
        while len(messages.refs) < len(texts):
            if messages.refs:
                await messages.show(len(messages.refs) - 1, texts[len(messages.refs) - 1], growing=False)
            text = texts[len(messages.refs)]
            if not text.strip() or self._draft.outcome:
                return  # nothing to be seen yet, or the end shows it
            if not await messages.post(text, growing=True):
                return
        await messages.show(len(texts) - 1, texts[-1], growing=True)

    def _texts(self) -> list[str]:
        """What each message shows of the text so far, as many of them as there may be."""
        parts = self._splitter.parts(self._draft.text)
        most = self._editor.limits.messages or len(parts)
        self._more_than_fits = len(parts) > most
        return [part.text for part in parts[:most]]

    async def _complete(self) -> list[str]:
        """Have all messages but the last show their final text. Returns what each is to show, also the last."""
        parts = self._texts()
        while parts and not parts[-1].strip():
            parts.pop()  # white space makes no message
        self._messages.keep(max(len(parts), 1))
        for place, text in enumerate(parts[:-1]):
            await retry_call(partial(self._messages.complete, place, text))
        return parts

    async def _show_the_end(self, outcome: Outcome) -> None:
        if fault := self._fault:
            self._fault = None
            raise fault
        parts = await self._complete()
        whole = self._draft.text if self._more_than_fits else ""
        await retry_call(partial(self._messages.finish, parts, outcome, whole))

    def _fall_back(self, fault: PlatformError) -> bool:
        """After a refusal for good: get ready to show the end in another way. False if there is none.

        A text that is refused may be taken in a plainer form; an edit that still is, or is not allowed, as a post.
        """
        ref = self._messages.target
        if isinstance(fault, NotAllowed) and not ref:
            return False
        if ref and (self._is_plain or isinstance(fault, NotAllowed)) and self._messages.replace(ref):
            return True
        self._is_plain = True
        if not (isinstance(self._editor, FallbackEditor) and self._editor.fall_back()):
            return self._messages.replace(ref)
        self._splitter = Splitter(self._editor.limits)
        return True

    async def _cut_short(self, fault: PlatformError) -> None:
        """The end cannot be shown in any way: tell people under what they see, or leave nothing that can be stopped.

        Raises:
            PlatformError: people are not told by any message here.
        """
        messages = self._messages
        if messages.refs or not isinstance(fault, NotAllowed):
            shown = () if messages.thinking else tuple(messages.shown)
            try:
                return await retry_call(partial(messages.finish, shown, REFUSED, ""))
            except MessageGone:
                raise
            except PlatformError as again:
                if again.retryable:
                    raise
                log.warning("final edit refused", error=str(again), code=again.code)
        messages.give_up_unfinished()
        await messages.remove_the_rest()
        raise fault
