"""Everything that goes wrong, in one tree.

::

    ParleyError
    ├── SettingsError             a setting is missing or wrong
    ├── StorageError              Redis is away, too old, or refuses
    │   └── StorageFault            it is there, and cannot do what we ask: a fault of ours, or damaged data
    ├── BackupError               a backup cannot be written, read, or restored here
    ├── GenerationError           the model gave no whole answer
    │   ├── ModelUnavailable        it cannot be reached, or is not ready        (retryable)
    │   ├── ModelOverloaded         it asks us to come back later                (retryable)
    │   ├── ModelTimeout            it was silent for too long, or took too long (retryable)
    │   ├── ModelUnauthorized       it does not accept our key
    │   ├── ModelRefused            it does not accept our request
    │   │   └── PromptTooLong         because the prompt does not fit
    │   ├── StreamBroken            it fell silent in the middle of an answer    (retryable)
    │   └── AnswerCutOff            it ended the answer, and not because it was whole
    │       ├── AnswerFiltered        a content filter did
    │       └── ToolWanted            it waits for a tool, and is given none
    └── PlatformError             Slack or Discord refuses
        ├── RateLimited             not now; ``retry_after`` says when
        ├── MessageGone             the message, thread or channel does not exist any more
        ├── NotAllowed              it exists, but we may not do this there
        ├── PlatformUnavailable     it cannot be reached, or has a fault of its own
        └── PlatformUnauthorized    the token is wrong, or was revoked

An error says three things: ``str(error)`` tells the operator what happened, and ``remedy`` what they can do. ``plain``
tells the person who waits for an answer what happened, what they can do and whom to ask; it contains nothing that only
an operator should know, and ``tell`` writes it for a place. ``retry_after`` is in seconds, if a server named it.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import ClassVar

from core.policy import Venue

MAX_RETRY_AFTER_SECONDS = 300.0
"""A longer ``Retry-After`` of a platform is cut to this."""


class ParleyError(Exception):
    """The base class of all errors that Parley raises on purpose."""

    plain: ClassVar[str] = "Something went wrong on my side. Try again; if it happens again, tell {contact}."
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.retry_after = retry_after

    @classmethod
    def tell(cls, venue: Venue) -> str:
        """``plain`` with its placeholders filled for a place: whom to ask, and how commands are written there."""
        return venue.tell(cls.plain)


class SettingsError(ParleyError):
    """A setting is missing or wrong; the message names it and the remedy shows an example."""


class StorageError(ParleyError):
    """Redis is away, too old, or refuses."""

    plain = "I can't reach my memory right now. Try again in a minute; if that doesn't help, tell {contact}."
    retryable = True


class StorageFault(StorageError):
    """Redis is there and answers, but what we ask cannot be done: a fault of ours, or data that somebody damaged."""


class BackupError(ParleyError):
    """A backup cannot be written, is not one, is damaged, or cannot be restored here."""


class GenerationError(ParleyError):
    """The model gave no whole answer."""

    plain = "The model couldn't answer. Try again; if it happens again, tell {contact}."


class ModelUnavailable(GenerationError):
    """The model's server cannot be reached, or is not ready."""

    plain = "I can't reach the model right now. Try again in a minute; if that doesn't help, tell {contact}."
    retryable = True
    connected = True
    """Whether there was a connection; a server that takes none may be starting, and be there in a moment."""


class ModelOverloaded(GenerationError):
    """The model's server asks us to come back later."""

    plain = "The model is too busy right now. Try again in a minute; if that doesn't help, tell {contact}."
    retryable = True


class ModelTimeout(GenerationError):
    """The model was silent for too long, or took too long in all."""

    plain = "The model took too long to answer. Try again; if it happens again, tell {contact}."
    retryable = True


class ModelUnauthorized(GenerationError):
    """The model's server does not accept our key."""

    plain = "The model server rejected my API key. Ask {contact} to check it."


class ModelRefused(GenerationError):
    """The model's server does not accept our request."""

    plain = "The model server refused the request. Try a shorter question; if that doesn't help, tell {contact}."


class PromptTooLong(ModelRefused):
    """The prompt does not fit into the model's context."""

    plain = "This conversation is too long for the model. {/forget} starts a new one."


class StreamBroken(GenerationError):
    """The model's stream ended in the middle of an answer."""

    plain = "The model stopped in the middle of its answer. Try again; if it happens again, tell {contact}."
    retryable = True


class AnswerCutOff(GenerationError):
    """The model's server ended the answer, and not because it was whole."""

    plain = "The model's server ended this answer early, for a reason I don't know. Try again, or tell {contact}."


class AnswerFiltered(AnswerCutOff):
    """A content filter of the model's server ended the answer."""

    plain = "A content filter on the model's server stopped this answer. Try asking it in other words."


class ToolWanted(AnswerCutOff):
    """The model asked for a tool in place of an answer."""

    plain = "The model wanted to use a tool, and it has none here. Ask it to answer without tools."


class PlatformError(ParleyError):
    """A platform refuses a call; ``code`` is the platform's error code."""

    def __init__(self, message: str, *, code: str = "", remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, remedy=remedy, retry_after=retry_after)
        self.code = code


class RateLimited(PlatformError):
    """Not now; ``retry_after`` seconds from now."""

    retryable = True


class MessageGone(PlatformError):
    """The platform says that the message, thread or channel does not exist: there is nothing left to write to."""


class NotAllowed(PlatformError):
    """The platform does not let us do this there, whatever the text: no permission, a locked thread, an old message."""


class PlatformUnavailable(PlatformError):
    """The platform cannot be reached, or has a fault of its own."""

    retryable = True


class PlatformUnauthorized(PlatformError):
    """The platform does not accept our token."""


def wait_seconds(retry_after: object) -> float:
    """Read a ``Retry-After``, whatever it contains: from 0 to ``MAX_RETRY_AFTER_SECONDS``; 1 if it is no number."""
    with suppress(ValueError, TypeError, OverflowError):
        seconds = float(retry_after)  # type: ignore[arg-type]
        if math.isfinite(seconds):
            return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
    return 1.0
