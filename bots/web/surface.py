"""The surface of the page: a worker in any process with the same Redis writes answers on its boards."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace

from bots.web.board import Boards, Entry, Stage
from bots.web.people import venue_of
from core.assistant import commands
from core.delivery import Pace
from core.errors import MessageGone, PlatformUnavailable, StorageError
from core.pacing import CallBudget
from core.policy import Venue
from core.types import Message, MessageLimits, MessageRef, Outcome, Turn

LIMITS = MessageLimits(size=10**9, interval=0.1, thinking="*Thinking …*")
"""A board takes all of an answer as one message; ten times a second is as smooth as reading is."""
EPOCH = "epoch"
"""In a turn's place: how often its channel had been forgotten when its answer was begun. The memory is read after that,
so no answer is shown that the memory would refuse."""
_UNLIMITED = 1e9


class WebSurface:
    """See ``core.delivery.Surface``."""

    regenerates = False

    def __init__(self, boards: Boards, contact: str = "") -> None:
        """``contact`` is whom people can ask."""
        self.boards = boards
        self._contact = contact
        self._pace = Pace(CallBudget(_UNLIMITED, _UNLIMITED), CallBudget(_UNLIMITED, _UNLIMITED), first_words=0)

    async def understand(self, turn: Turn) -> Turn:
        """Note how often the channel was forgotten so far; the text needs no translation."""
        if commands.find(turn.text):
            return turn  # its reply is not remembered, so it can be shown after the channel was forgotten
        try:
            return replace(turn, place={**turn.place, EPOCH: await self.boards.epoch(turn.key)})
        except StorageError:
            return turn

    async def read_thread(self, turn: Turn, after: str = "") -> Sequence[Message]:
        """Nothing: the page has no threads."""
        del turn
        return ()

    async def read_room(self, turn: Turn) -> Sequence[Message]:
        """See ``core.delivery.Surface``."""
        return ()

    async def venue(self, turn: Turn) -> Venue:
        """See ``core.delivery.Surface``."""
        return venue_of(turn.key, self._contact)

    def open_editor(self, turn: Turn) -> WebEditor:
        """An editor for the reply to a turn."""
        return WebEditor(self.boards, turn)

    def pace(self, turn: Turn) -> Pace:
        """No limit: the page refuses no edits."""
        del turn
        return self._pace


class WebEditor:
    """Writes the reply to one turn on the board of its channel. See ``core.delivery.MessageEditor``."""

    limits = LIMITS

    def __init__(self, boards: Boards, turn: Turn) -> None:
        self._boards = boards
        self._turn = turn
        self._ref = MessageRef(turn.key.channel, f"{turn.id}/answer")

    def working(self) -> AbstractAsyncContextManager[None]:
        """Nothing: the board shows that a question has no answer yet."""
        return nullcontext()

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        """Begin the answer. Raises MessageGone if its channel was forgotten meanwhile."""
        del part
        await self.edit(self._ref, text, growing=growing)
        return self._ref

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        """Show the newer text. Raises MessageGone if its channel was forgotten meanwhile."""
        del ref
        await self._show(replace(Entry.of(self._turn), stage=Stage.GROWING if growing else Stage.DONE, answer=text))

    async def finish(
        self, refs: Sequence[MessageRef], parts: Sequence[str], outcome: Outcome, *, whole: str = ""
    ) -> tuple[MessageRef, ...]:
        """Show the whole text, the note, and Retry after an error; remove the entry if the question was withdrawn."""
        text = parts[-1] if parts else ""
        if not outcome.remember:
            try:
                await self._boards.remove(self._turn.key, self._turn.id)
            except StorageError as error:
                raise PlatformUnavailable(str(error), code="storage") from None
            return tuple(refs) or (self._ref,)
        done = replace(Entry.of(self._turn), stage=Stage.DONE, answer=text, note=outcome.note, retry=outcome.retry)
        await self._show(done)
        return tuple(refs) or (self._ref,)

    async def remove(self, ref: MessageRef) -> None:
        """Do nothing: a reply is one message, so an earlier attempt left no others."""

    async def find(self, part: int) -> MessageRef | None:
        """The reference of the answer, if this attempt was begun."""
        del part
        try:
            entry = await self._boards.find(self._turn.key, self._turn.id)
        except StorageError as error:
            raise PlatformUnavailable(str(error), code="storage") from None
        begun = entry and entry.attempt == self._turn.attempt and entry.stage is not Stage.WAITING
        return self._ref if begun else None

    async def _show(self, entry: Entry) -> None:
        try:
            there = await self._boards.show(self._turn.key, entry, epoch=self._turn.place.get(EPOCH, ""))
        except StorageError as error:
            raise PlatformUnavailable(str(error), code="storage") from None
        if not there:
            raise MessageGone("the channel was forgotten", code="forgotten")
