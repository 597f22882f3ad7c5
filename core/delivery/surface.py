"""A platform, as seen by whoever answers a turn there: what it is asked, where a reply is written, and how often."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from core.errors import PlatformUnavailable, RateLimited
from core.pacing import CallBudget
from core.policy import Venue
from core.types import Limits, Message, MessageRef, Outcome, Turn

T = TypeVar("T")


async def retry_for(call: Callable[[], Awaitable[T]], patience: float) -> T:
    """Call until it works; a fault that passes within ``patience`` seconds only delays it.

    Raises:
        PlatformError: it did not pass, or is none that does.
    """
    until, wait = time.monotonic() + patience, 0.5
    while True:
        try:
            return await call()
        except (RateLimited, PlatformUnavailable) as fault:
            wait = fault.retry_after or 2 * wait
            if time.monotonic() + wait > until:
                raise
            await asyncio.sleep(wait)


class MessageEditor(Protocol):
    """How one reply is written on a platform.

    Every method may raise RateLimited (call again later), PlatformUnavailable (a passing fault), MessageGone (stop),
    NotAllowed (this place will not take it, whatever the text) or another PlatformError (this call will never work).
    """

    @property
    def limits(self) -> Limits:
        """What a message can hold, as things stand."""
        ...

    def working(self) -> AbstractAsyncContextManager[None]:
        """A sign of life while inside: typing, or a status. Entering does not wait; never raises PlatformError."""
        ...

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        """Post message number ``part`` of the reply (from 0), marked so that ``find`` can find it."""
        ...

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        """Put ``text``, the full text of that message, in its place; while it is ``growing`` it can be stopped."""
        ...

    async def finish(
        self, refs: Sequence[MessageRef], parts: Sequence[str], outcome: Outcome, *, whole: str = ""
    ) -> tuple[MessageRef, ...]:
        """Make the reply final: ``refs[i]`` shows ``parts[i]`` already, but for the last part.

        The last part is edited into its message, or posted if there is none yet, together with what the outcome has to
        say; without any part the note is the reply. ``whole`` is the text, as a file, where ``limits.messages`` do not
        hold it. Returns the messages of the whole reply.
        """
        ...

    async def remove(self, ref: MessageRef) -> None:
        """Take away a message that an earlier, longer reply left behind."""
        ...

    async def find(self, part: int) -> MessageRef | None:
        """What was posted as ``part`` of this reply by somebody who could not say so any more; None if nothing was."""
        ...


@runtime_checkable
class FallbackEditor(Protocol):
    """A MessageEditor that can write in other ways when the platform refuses the usual one for good."""

    def fall_back(self, *, anew: bool = False) -> bool:
        """Write plainer from now on; or ``anew``: in new messages, since those that are there cannot be changed.

        ``limits`` may differ afterwards. Returns False if there is no such way.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """Who may call when: budgets for ``posts`` and ``edits``, and seconds to gather the ``first_words``.

    A model that reasons for more seconds than ``thinking`` before its first word is said to do so.

    Where a platform counts all calls together, ``ready`` waits for one, which the next post or edit makes. It is waited
    for apart from the call, so that a preview which has to wait is given up when its answer ends.
    """

    posts: CallBudget
    edits: CallBudget
    first_words: float = 0.12
    ready: Callable[[], Awaitable[None]] | None = None
    thinking: float = 3.0


class Surface(Protocol):
    """What the core needs of a platform to answer its turns; any process with the platform's token can give it."""

    regenerates: bool
    """Whether a reply that went well may be asked for again as well."""

    async def understand(self, turn: Turn) -> Turn:
        """Make a message readable: names for ids, plain links, no markup. Never raises: what is unknown stays."""
        ...

    async def read_thread(self, turn: Turn) -> Sequence[Message]:
        """What people said in the turn's thread before it, oldest first, bounded: the newest are kept.

        Raises:
            PlatformError: it cannot be read.
        """
        ...

    async def venue(self, turn: Turn) -> Venue:
        """The place where a turn was asked: how commands are written there, who else can speak. Never raises."""
        ...

    def open_editor(self, turn: Turn) -> MessageEditor:
        """Where the reply to a turn is written."""
        ...

    def pace(self, turn: Turn) -> Pace:
        """The budgets that the reply draws from."""
        ...


@runtime_checkable
class PrivateSurface(Protocol):
    """A Surface that can reach a person apart from the place where they asked."""

    async def tell(self, turn: Turn, text: str) -> None:
        """Tell who asked, and nobody else, what they could not be told where they asked. ``text`` is Markdown.

        Raises:
            PlatformError: they cannot be reached.
        """
        ...
