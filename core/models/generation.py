"""Asks a model for one answer: deadlines, and a clean text, around any backend alike.

Cut out of the text are reasoning, stop strings, control tokens and white space at its beginning. Servers differ in what
they do with a stop string: TGI leaves it in the text, and misses it when a token continues past it. Only text that may
become one of these with the next token is held back. No server is trusted to stop where it was told to.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, closing
from dataclasses import dataclass

from core.errors import ModelTimeout, StreamBroken
from core.model_types import Delta, Done, GenerationRequest, Streamed, Thinking
from core.models.backends.backend import Backend
from core.models.control_tokens import ControlTrimmer
from core.models.deadline import RollingDeadline
from core.models.reasoning import ReasoningOpened, ReasoningTrimmer
from core.types import Ending

MAX_WHITE_SPACE = 200
"""A longer run of white space ends the answer as LENGTH: the model is looping."""

CHARACTERS_PER_TOKEN = 16
"""Characters that an answer may have per allowed token. Only a server that ignores the limit sends more."""
EXTRA_CHARACTERS = 2000
"""Characters that every answer may have on top of that."""

_NOTHING = Delta("")
_TOO_MUCH_WHITE_SPACE = re.compile(rf"\s{{{MAX_WHITE_SPACE + 1},}}")
_DEADLINE_ERRORS = {
    "first_token": "The model was silent for {:g} s after it was asked.",
    "between_tokens": "The model fell silent for {:g} s in the middle of its answer.",
    "total": "The model was not done after {:g} s in all.",
}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds to wait for the first text, between two pieces of text, and for the whole answer."""

    first_token: float = 60
    between_tokens: float = 30
    total: float = 600


async def generate(
    backend: Backend, request: GenerationRequest, deadlines: Deadlines, *, opened: ReasoningOpened = ReasoningOpened.NO
) -> AsyncGenerator[Streamed, None]:
    """Stream one answer: any number of ``Delta`` with visible text, then exactly one ``Done``.

    The text is the model's without reasoning, control tokens and white space at its beginning, up to the first of
    ``request.prompt.stops`` or the first turn mark. It ends as ``LENGTH`` at a run of ``MAX_WHITE_SPACE``, and where it
    is longer than so many tokens could be. If the model writes only reasoning, that is the answer.

    Yields a ``Thinking`` while the model reasons; one with ``retract`` makes reasoning of all text so far. The stream
    of the backend is closed before the last text is yielded. Iterate under ``contextlib.aclosing``: closing the
    generator early closes that stream, too.

    Args:
        backend: Answers the request.
        request: The prompt, and the parameters of generation.
        deadlines: In seconds.
        opened: Whether reasoning is under way before the first token.

    Raises:
        ModelTimeout: a deadline passed. The caller's own time counts for ``total`` only.
        StreamBroken: the backend's stream ended without ``Done``.
        GenerationError: the backend raised it. What was yielded before stands; what was held back is dropped.
    """
    clock = asyncio.get_running_loop().time
    overall = clock() + deadlines.total
    trimmer = _AnswerTrimmer(request, opened)
    end = Done()
    limit, deadline = "first_token", clock() + deadlines.first_token
    deadline_timer = RollingDeadline()
    async with aclosing(backend.stream(request)) as stream:
        with closing(deadline_timer):
            while True:
                due, name = (deadline, limit) if deadline < overall else (overall, "total")
                item = await _next(stream, deadline_timer.until(due), name, deadlines)
                if isinstance(item, Done):
                    end = item
                    break
                if item == _NOTHING:
                    continue
                for news in trimmer.take(item):
                    yield news
                if trimmer.ended:
                    break
                limit, deadline = "between_tokens", clock() + deadlines.between_tokens
    ending = trimmer.ending or end.ending
    if text := trimmer.end(ending):
        yield Delta(text)
    yield Done(trimmer.ending or ending, end.usage, trimmer.began_inside)


class _AnswerTrimmer:
    """Cleans what a backend streams: reasoning, then stop strings, control tokens and white space."""

    def __init__(self, request: GenerationRequest, opened: ReasoningOpened) -> None:
        self._request = request
        self._room = CHARACTERS_PER_TOKEN * request.max_new_tokens + EXTRA_CHARACTERS
        self._reasoning = ReasoningTrimmer(opened)
        self._apart: list[str] = []
        self._last = ""
        self._begin()

    def _begin(self) -> None:
        prompt = self._request.prompt
        self._stops, self._spaces, self._said = StopTrimmer(prompt.stops), SpaceTrimmer(), False
        self._control_tokens = ControlTrimmer(prompt.control_tokens)

    @property
    def ended(self) -> bool:
        """Whether the answer is over, even if the model writes more."""
        return self.ending is not None

    @property
    def ending(self) -> Ending | None:
        """How the answer was ended here; None if it was not."""
        if self._spaces.endless:
            return Ending.LENGTH
        if self._stops.stopped or self._control_tokens.ended:
            return Ending.COMPLETE
        return Ending.LENGTH if self._room <= 0 else None

    @property
    def began_inside(self) -> bool:
        """Whether the text began in the middle of reasoning."""
        return self._reasoning.began_inside

    def take(self, item: Delta | Thinking) -> list[Delta | Thinking]:
        """What can be shown now; the last text of an answer that ends here is left to ``end``."""
        text, self._last = item.text[: self._room], ""
        self._room -= len(item.text)
        if isinstance(item, Thinking):
            self._apart.append(text)
            return [Thinking()]
        text = self._reasoning.feed(text)
        news: list[Delta | Thinking] = [Thinking()] if self._reasoning.thinking else []
        if self._reasoning.retracted:
            news = [Thinking(retract=True)]
            self._begin()
        text = self._control_tokens.feed(self._stops.feed(text))
        if self._stops.stopped:
            text += self._control_tokens.flush()
        self._last = self._spaces.feed(text)
        self._said = self._said or bool(self._last)
        return [*news, Delta(self._last)] if self._last and not self.ended else news

    def end(self, ending: Ending) -> str:
        """The rest when no more text comes; the reasoning if there is nothing else."""
        text = self._last if self.ended else ""
        if not (self._stops.stopped or self._control_tokens.ended or self._spaces.endless):
            more = self._control_tokens.feed(self._stops.feed(self._reasoning.flush()) + self._stops.flush())
            text += self._spaces.feed(more + self._control_tokens.flush(halves=False))
        text += "" if self._control_tokens.ended else self._spaces.flush()
        if ending is Ending.COMPLETE and not (text.strip() or self._said):
            text = self._all_there_is()
        return text

    def _all_there_is(self) -> str:
        """The reasoning as the answer: some models and servers never say where reasoning ends."""
        reasoning = self._reasoning.reasoning or "".join(self._apart)
        self._begin()
        text = self._control_tokens.feed(self._stops.feed(reasoning)) + self._control_tokens.flush(halves=False)
        return self._spaces.feed(text).rstrip()


async def _next(
    stream: AsyncGenerator[Streamed, None], deadline_timer: RollingDeadline, name: str, deadlines: Deadlines
) -> Streamed:
    """The stream's next item; ``name`` is the deadline that ``deadline_timer`` holds."""
    try:
        # Entered for each step, not one for the whole: the caller may take the steps in different tasks.
        with deadline_timer:
            return await anext(stream)
    except StopAsyncIteration:
        raise StreamBroken(
            "The model's stream ended without saying that the answer is complete.",
            remedy="Look into the log of the model's server.",
        ) from None
    except TimeoutError:
        if not deadline_timer.expired:
            raise
        raise ModelTimeout(
            _DEADLINE_ERRORS[name].format(getattr(deadlines, name)),
            remedy=f"Look at the load of the model's server, or raise {name.upper()}_TIMEOUT (seconds).",
        ) from None


class StopTrimmer:
    """Cuts a text that comes in pieces at the first of any of ``stops``; ``stopped`` once one was found."""

    def __init__(self, stops: Iterable[str]) -> None:
        self.stopped = False
        self._stops = tuple(stop for stop in stops if stop)
        self._firsts = frozenset(stop[0] for stop in self._stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece; returns all that can't become a stop string with more text."""
        if self.stopped:
            return ""
        if not self._held and self._firsts.isdisjoint(text):
            return text
        text = self._held + text
        found = self._find(text)
        begun = self._begun(text)
        # A longer stop string that began before the one found may still turn out to be the first.
        self.stopped = found < len(text) and found <= begun
        cut = min(found, begun)
        self._held = "" if self.stopped else text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """Take the end of the text; returns the rest."""
        text, self._held = self._held, ""
        found = self._find(text)
        self.stopped = self.stopped or found < len(text)
        return text[:found]

    def _find(self, text: str) -> int:
        """Where the first whole stop string begins; the length of ``text`` if there is none."""
        return min((place for stop in self._stops if (place := text.find(stop)) >= 0), default=len(text))

    def _begun(self, text: str) -> int:
        """Where the first stop string begins that ``text`` breaks off; the length of ``text`` if there is none."""
        for place in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[place] in self._firsts and any(stop.startswith(text[place:]) for stop in self._stops):
                return place
        return len(text)


class SpaceTrimmer:
    """Drops white space before a text that comes in pieces; ``endless`` once a run exceeded ``MAX_WHITE_SPACE``.

    The text ends before such a run.
    """

    def __init__(self) -> None:
        self.endless = False
        self._begun = False
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece; returns it without white space at its end, which waits for visible text."""
        text = self._held + text
        if len(text) > MAX_WHITE_SPACE and (run := _TOO_MUCH_WHITE_SPACE.search(text)):
            self.endless = True
            text = text[: run.start()]
        shown = text.rstrip()
        self._held = "" if self.endless else text[len(shown) :]
        if not self._begun:
            shown = shown.lstrip()
            self._begun = bool(shown)
        return shown

    def flush(self) -> str:
        """The white space at the end of the text."""
        return self._held if self._begun else ""
