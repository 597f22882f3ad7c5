"""What a platform is: a description that costs nothing to import, and what it opens."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from core.settings import Settings

if TYPE_CHECKING:  # the command line needs the descriptions of all platforms, and none of these
    import typer
    from redis.asyncio import Redis

    from bots.assembly import Core
    from bots.findings import Say
    from bots.stopping import Stopping
    from core.delivery import Surface
    from core.memory import Memory
    from core.pacing import CallBudgets
    from core.store import StoredKey
    from core.turns import TurnQueue

S = TypeVar("S", bound=Settings)
WORD_START = r"(?:\b|(?<=\[\dm)|(?<=\[\d\dm))"
"""Where a word begins in a log line; on a terminal, perhaps behind the codes of a colour."""


class OpenPlatform(Protocol):
    """Where people are: ``surface`` answers them, and ``listening`` takes what they say into the queue."""

    @property
    def connected(self) -> bool:
        """Whether what people say reaches us, now."""
        ...

    @property
    def place(self) -> str:
        """Where people find us: the page's address, ``Slack (Acme)``."""
        ...

    @property
    def surface(self) -> Surface:
        """Answers turns."""
        ...

    def listening(self, queue: TurnQueue, memory: Memory, redis: Redis) -> AbstractAsyncContextManager[None]:
        """Take turns while inside."""
        ...


@dataclass(frozen=True, slots=True)
class Start(Generic[S]):
    """What a platform gets when it is opened."""

    settings: S
    core: Core
    budgets: CallBudgets
    stopping: Stopping
    listens: bool
    """Whether people are heard here; a worker only answers them."""
    platforms: Mapping[str, str]
    """All platforms by name, and what people call each."""
    configured: Collection[str]
    """The names of those for which a token is set."""


@dataclass(frozen=True, slots=True)
class Token:
    """A secret without which a platform does not work. ``example`` shows its form."""

    field: str
    example: str = ""
    only_to_listen: bool = False
    """Whether a process that only answers can do without."""

    @property
    def name(self) -> str:
        """The name of the setting."""
        return self.field.upper()


def _always() -> bool:
    return True


def _lacks_nothing(_: Settings) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Platform(Generic[S]):
    """Describes an adapter to the rest of Parley. Its functions import what they need when they are called.

    Example::

        PLATFORM = Platform(
            name="chat",
            called="the chat",
            settings=ChatSettings,
            open=_open,
            examine=_examine,
            tokens=(Token("chat_token"),),
            person=re.compile(r"[a-z]+"),
        )
    """

    name: str
    """In ``parley run NAME``, in Redis and in logs."""
    called: str
    """What people call it."""
    settings: type[S]
    """Settings, and those of this platform."""
    open: Callable[[Start[S]], AbstractAsyncContextManager[OpenPlatform | None]]
    """The platform, as soon as it can be reached; None if we are asked to stop meanwhile."""
    examine: Callable[[S, Collection[str], Say, bool], Awaitable[None]]
    """Its part of ``parley doctor``: takes the settings, the fields that are wrong, and whether no other platform is
    set up."""
    person: re.Pattern[str]
    """The ids of people there."""
    tokens: tuple[Token, ...] = ()
    """Without any, the platform needs no account, and ``parley run`` opens it where none is set up."""
    ids: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    """Fields that list ids, and what an id looks like; a name in such a list would match nobody."""
    secrets: tuple[re.Pattern[str], ...] = ()
    """What must not be logged; the first group of each is kept, to tell its kind."""
    section: str = ""
    """The heading in README.md that explains how it is set up."""
    hint: str = ""
    """How to begin with that, for ``parley doctor``."""
    installed: Callable[[], bool] = _always
    """Whether the packages that it needs are there."""
    lacks: Callable[[S], str] = _lacks_nothing
    """What keeps ``parley run all`` from opening it, or ""."""
    stored_keys: Callable[[], Sequence[StoredKey]] = tuple
    """What it keeps in Redis for itself."""
    in_browser: bool = False
    """Whether its place is an address that can be opened in a browser."""
    add_commands: Callable[[typer.Typer, Callable[[], S]], None] | None = None
    """Adds commands to ``parley NAME``; takes the group, and what loads the settings."""
    forget_person: Callable[[Redis, S, str], Awaitable[None]] | None = None
    """Forgets what it keeps of a person apart from conversations."""

    @property
    def title(self) -> str:
        """What it is called, as a heading."""
        return self.called.removeprefix("the ").capitalize()

    def configured(self, settings: Settings) -> bool:
        """Whether one of its tokens is set."""
        return any(getattr(settings, token.field) for token in self.tokens)
