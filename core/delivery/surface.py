"""What the core needs of a platform: to understand turns, to write replies, and how often it may call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from core.pacing import CallBudget
from core.policy import Venue
from core.types import Message, MessageLimits, MessageRef, Outcome, Turn

T = TypeVar("T")


class MessageEditor(Protocol):
    """How one reply is written on a platform.

    Example::

        async with editor.working():
            ref = await editor.post("The first words", 0, growing=True)
            await editor.edit(ref, "The first words, and more", growing=True)
            await editor.finish([ref], ["The whole answer."], Outcome(Ending.COMPLETE))

    Raises:
        RateLimited: Call again later. Any method may raise this, and the errors below.
        PlatformUnavailable: A passing fault.
        MessageGone: The message, or the place it stands in, was deleted: stop.
        NotAllowed: This place takes no text from us, whatever it says.
        PlatformError: This call will never work.
    """

    @property
    def limits(self) -> MessageLimits:
        """What a message can hold now; it may change after ``fall_back``."""
        ...

    def working(self) -> AbstractAsyncContextManager[None]:
        """Show a typing sign or a status while inside. Entering does not wait; never raises PlatformError."""
        ...

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        """Post message number ``part`` of the reply (from 0), marked so that ``find`` can find it."""
        ...

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        """Replace the text of a message; while it is ``growing`` it has a Stop button."""
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
        """Delete a message that an earlier, longer reply left behind."""
        ...

    async def find(self, part: int) -> MessageRef | None:
        """The message that a worker posted as ``part`` of this reply before it died; None if there is none."""
        ...


@runtime_checkable
class FallbackEditor(Protocol):
    """A MessageEditor that can write in other ways when the platform refuses the usual one for good."""

    def fall_back(self, *, anew: bool = False) -> bool:
        """Write plainer from now on. ``limits`` may differ afterwards.

        Args:
            anew: Write as before, but in new messages, since the posted ones cannot be changed.

        Returns:
            False if there is no such way.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a reply may call its platform.

    Attributes:
        posts: The budget of new messages.
        edits: The budget of edits.
        first_words: Seconds to gather the first words before they are posted.
        ready: Waits for one of the calls that a platform counts together, which the next post or edit then makes; None
            where posts and edits are counted apart. A preview that is still waiting when its answer ends is dropped.
        thinking: Seconds that a model may reason before people are told that it is thinking.
    """

    posts: CallBudget
    edits: CallBudget
    first_words: float = 0.12
    ready: Callable[[], Awaitable[None]] | None = None
    thinking: float = 3.0


class Surface(Protocol):
    """A platform, as a worker sees it. Any process with the platform's token can provide it, without a socket."""

    regenerates: bool
    """Whether a successful reply has a Retry button, too."""

    async def understand(self, turn: Turn) -> Turn:
        """Make a message readable: names for ids, plain links, no markup. Never raises: unknown ids stay."""
        ...

    async def read_thread(self, turn: Turn, after: str = "") -> Sequence[Message]:
        """What was said in the turn's thread, without the turn itself, oldest first, bounded: the newest are kept.

        Also what was said since the turn: it is remembered, while the turn is answered without it.

        Args:
            turn: Whose thread is read.
            after: The id of a message that is known; only later ones are read. "" for all.

        Raises:
            PlatformError: it cannot be read.
        """
        ...

    async def read_room(self, turn: Turn) -> Sequence[Message]:
        """The newest messages of the turn's channel before it, oldest first, for ``HEAR=room``.

        Raises:
            PlatformError: they cannot be read.
        """
        ...

    async def venue(self, turn: Turn) -> Venue:
        """The place where a turn was asked: how commands are written there, who else can speak. Never raises."""
        ...

    def open_editor(self, turn: Turn) -> MessageEditor:
        """Where the reply to a turn is written."""
        ...

    def pace(self, turn: Turn) -> Pace:
        """How often the reply may call the platform."""
        ...


@runtime_checkable
class PrivateSurface(Protocol):
    """A Surface that can write to a person privately."""

    async def tell(self, turn: Turn, text: str) -> None:
        """Tell the asker of a turn, and nobody else, what could not be posted where they asked.

        Args:
            turn: Whose asker is told.
            text: Markdown.

        Raises:
            PlatformError: They cannot be reached.
        """
        ...
