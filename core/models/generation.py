"""The one way to ask a model: deadlines, reasoning, stop and control strings, white space, around any backend alike.

Servers differ in what they do with a stop string: TGI leaves it in the text, and misses it when a token continues past
it. So it is cut out here for all servers; and so are reasoning and control tokens. Nothing visible is held back,
except what may become one of these with the next token. Nor is a server trusted to stop where it was told to.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, closing
from dataclasses import dataclass

from core.errors import ModelTimeout, StreamBroken
from core.models.backends.backend import Backend
from core.models.control_tokens import ControlTrimmer
from core.models.deadline import RollingDeadline
from core.models.reasoning import ReasoningOpened, ReasoningTrimmer
from core.types import Delta, Done, Ending, GenerationRequest, Streamed, Thinking

ENDLESS = 200
"""A longer run of white space ends the answer as LENGTH: the model is looping."""

CHARACTERS_PER_TOKEN = 16
"""Characters that an answer may have for each token it was allowed: only a server that ignores the limit sends more."""
CHARACTERS_BEYOND = 2000
"""Characters that any answer may have beyond that."""

_NOTHING = Delta("")
_ENDLESS = re.compile(rf"\s{{{ENDLESS + 1},}}")
_LATE = {
    "first_token": "The model was silent for {:g} s after it was asked.",
    "between_tokens": "The model fell silent for {:g} s in the middle of its answer.",
    "total": "The model was not done after {:g} s in all.",
}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds to wait: for the first text, from one piece of text to the next, and for the whole answer."""

    first_token: float = 60
    between_tokens: float = 30
    total: float = 600


async def generate(
    backend: Backend, request: GenerationRequest, deadlines: Deadlines, *, opened: ReasoningOpened = ReasoningOpened.NO
) -> AsyncGenerator[Streamed, None]:
    """Stream one answer: any number of ``Delta`` with visible text, then exactly one ``Done``.

    The joined text is the model's, without reasoning and control tokens, up to the first of ``request.prompt.stops`` or
    the first turn mark, and without white space before it. White space waits until something visible follows; more than
    ``ENDLESS`` of it in a row ends the answer with ``LENGTH``, because the model was cut off and did not end by choice,
    and so does more text and reasoning than so many tokens could be. The server is let go before the last text is
    yielded. ``Thinking`` comes when reasoning is heard; with ``retract``, all text so far was reasoning. Reasoning is
    the answer if the model ends without any other. ``opened`` says whether it is under way before the first token.

    Iterate under ``contextlib.aclosing``: closing the generator early closes the backend's stream.

    Raises:
        ModelTimeout: a deadline passed; the time that the caller takes counts for ``total`` alone.
        StreamBroken: the backend's stream ended without ``Done``.
        GenerationError: whatever else the backend raises. What was yielded before stands; what was held back is
            dropped, because half a stop string is no text.
    """
    clock = asyncio.get_running_loop().time
    overall = clock() + deadlines.total
    trimmer = _Trimmer(request, opened)
    end = Done()
    limit, deadline = "first_token", clock() + deadlines.first_token
    watch = RollingDeadline()
    async with aclosing(backend.stream(request)) as stream:
        with closing(watch):
            while True:
                due, name = (deadline, limit) if deadline < overall else (overall, "total")
                item = await _next(stream, watch.until(due), name, deadlines)
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


class _Trimmer:
    """All that is cut out of what a backend streams, in order."""

    def __init__(self, request: GenerationRequest, opened: ReasoningOpened) -> None:
        self._request = request
        self._room = CHARACTERS_PER_TOKEN * request.max_new_tokens + CHARACTERS_BEYOND
        self._reasoning = ReasoningTrimmer(opened)
        self._apart: list[str] = []
        self._last = ""
        self._begin()

    def _begin(self) -> None:
        prompt = self._request.prompt
        self._stops, self._spaces, self._said = StopTrimmer(prompt.stops), SpaceTrimmer(), False
        self._controls = ControlTrimmer(prompt.controls)

    @property
    def ended(self) -> bool:
        """Whether the answer is over, whatever else the model writes."""
        return self.ending is not None

    @property
    def ending(self) -> Ending | None:
        """How it was ended here; None if it was not."""
        if self._spaces.endless:
            return Ending.LENGTH
        if self._stops.stopped or self._controls.ended:
            return Ending.COMPLETE
        return Ending.LENGTH if self._room <= 0 else None

    @property
    def began_inside(self) -> bool:
        """Whether the text began in the middle of reasoning."""
        return self._reasoning.began_inside

    def take(self, item: Delta | Thinking) -> list[Delta | Thinking]:
        """What there is to tell people now; the last text of an answer that ends here is left to ``end``."""
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
        text = self._controls.feed(self._stops.feed(text))
        if self._stops.stopped:
            text += self._controls.flush()
        self._last = self._spaces.feed(text)
        self._said = self._said or bool(self._last)
        return [*news, Delta(self._last)] if self._last and not self.ended else news

    def end(self, ending: Ending) -> str:
        """The rest, when no more text comes, or what was reasoned, if that is all there is."""
        text = self._last if self.ended else ""
        if not (self._stops.stopped or self._controls.ended or self._spaces.endless):
            more = self._controls.feed(self._stops.feed(self._reasoning.flush()) + self._stops.flush())
            text += self._spaces.feed(more + self._controls.flush(halves=False))
        text += "" if self._controls.ended else self._spaces.flush()
        if ending is Ending.COMPLETE and not (text.strip() or self._said):
            text = self._all_there_is()
        return text

    def _all_there_is(self) -> str:
        """What was reasoned, as an answer: models and servers that never say where reasoning ends send nothing else."""
        reasoning = self._reasoning.reasoning or "".join(self._apart)
        self._begin()
        text = self._controls.feed(self._stops.feed(reasoning)) + self._controls.flush(halves=False)
        return self._spaces.feed(text).rstrip()


async def _next(
    stream: AsyncGenerator[Streamed, None], watch: RollingDeadline, name: str, deadlines: Deadlines
) -> Streamed:
    """The stream's next item; ``name`` is the deadline that ``watch`` holds."""
    try:
        # A watch for each step, not one for the whole: the caller may take the steps in different tasks.
        with watch:
            return await anext(stream)
    except StopAsyncIteration:
        raise StreamBroken(
            "The model's stream ended without saying that the answer is complete.",
            remedy="Look into the log of the model's server.",
        ) from None
    except TimeoutError:
        if not watch.expired:
            raise
        raise ModelTimeout(
            _LATE[name].format(getattr(deadlines, name)),
            remedy=f"Look at the load of the model's server, or raise {name.upper()}_TIMEOUT (seconds).",
        ) from None


class StopTrimmer:
    """Cuts a text that comes in pieces at the first occurrence of any of ``stops``.

    ``stopped`` says that one was found; what is fed after that is not read.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self.stopped = False
        self._stops = tuple(stop for stop in stops if stop)
        self._firsts = frozenset(stop[0] for stop in self._stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""

    def feed(self, text: str) -> str:
        """What is safe to show now: all but an end that may still become a stop string."""
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
        """The rest, when no more text comes."""
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
    """Drops white space before a text that comes in pieces, and notices when nothing but white space comes.

    ``endless`` says that a run of more than ``ENDLESS`` characters was met; the text ends before it.
    """

    def __init__(self) -> None:
        self.endless = False
        self._begun = False
        self._held = ""

    def feed(self, text: str) -> str:
        """What is visible of the text so far and was not given yet."""
        text = self._held + text
        if len(text) > ENDLESS and (run := _ENDLESS.search(text)):
            self.endless = True
            text = text[: run.start()]
        shown = text.rstrip()
        self._held = "" if self.endless else text[len(shown) :]
        if not self._begun:
            shown = shown.lstrip()
            self._begun = bool(shown)
        return shown

    def flush(self) -> str:
        """The white space at the end, when no more text comes."""
        return self._held if self._begun else ""
