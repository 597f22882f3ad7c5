"""The one way to ask a model: deadlines, reasoning, stop and control strings, white space, around any backend alike.

Servers differ in what they do with a stop string: TGI leaves it in the text, and misses it when a token runs on past
it. So it is cut out here, whoever sends it; and so are reasoning and control strings. Nothing visible is held back,
except what may become one of these with the next token.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, closing
from dataclasses import dataclass

from core.backends import Backend
from core.controls import ControlTrimmer
from core.errors import ModelTimeout, StreamBroken
from core.thoughts import Opened, ThoughtTrimmer
from core.types import Delta, Done, Ending, GenerationRequest, Streamed, Thinking, Usage
from core.watch import Watch

ENDLESS = 200
"""More white-space characters than this in a row are no answer any more, but a model that has lost its way."""

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
    backend: Backend, request: GenerationRequest, deadlines: Deadlines, *, opened: Opened = Opened.NO
) -> AsyncGenerator[Streamed, None]:
    """Stream one answer: any number of ``Delta`` with visible text, then exactly one ``Done``.

    The joined text is the model's, without reasoning and control strings, up to the first of ``request.prompt.stops``
    and without white space before it. White space waits until something visible follows; more than ``ENDLESS`` of it in
    a row ends the answer with ``LENGTH``, because the model was cut off and did not end by itself. The server is let go
    before the last text is yielded. ``Thinking`` comes when reasoning is heard; with ``retract``, all text so far was
    reasoning. ``opened`` says whether it is under way before the first token.

    Iterate under ``contextlib.aclosing``: closing the generator early closes the backend's stream.

    Raises:
        ModelTimeout: a deadline passed; the time that the caller takes counts for ``total`` alone.
        StreamBroken: the backend's stream ended without ``Done``.
        GenerationError: whatever else the backend raises. What was yielded before stands; what was held back is
            dropped, because half a stop string is no text.
    """
    clock = asyncio.get_running_loop().time
    overall = clock() + deadlines.total
    trimmer = _Trimmer(request.prompt.stops, request.prompt.controls, opened)
    ending, usage = Ending.COMPLETE, Usage()
    limit, deadline = "first_token", clock() + deadlines.first_token
    watch = Watch()
    async with aclosing(backend.stream(request)) as stream:
        with closing(watch):
            while True:
                due, name = (deadline, limit) if deadline < overall else (overall, "total")
                item = await _next(stream, watch.until(due), name, deadlines)
                if isinstance(item, Done):
                    ending, usage = item.ending, item.usage
                    break
                if item == _NOTHING:
                    continue
                heard = trimmer.take(item)
                if trimmer.ended:
                    break
                for news in heard:
                    yield news
                limit, deadline = "between_tokens", clock() + deadlines.between_tokens
    for news in trimmer.end():
        yield news
    if trimmer.spaces.endless:
        ending = Ending.LENGTH
    elif trimmer.stops.stopped:
        ending = Ending.COMPLETE
    yield Done(ending, usage)


class _Trimmer:
    """All that is cut out of what a backend streams, in order."""

    def __init__(self, stops: Iterable[str], controls: Iterable[str], opened: Opened) -> None:
        self.stops, self.spaces = StopTrimmer(stops), SpaceTrimmer()
        self._thoughts, self._controls, self._own = ThoughtTrimmer(opened), ControlTrimmer(controls), tuple(controls)
        self._last = ""

    @property
    def ended(self) -> bool:
        """Whether the answer is over, whatever else the model writes."""
        return self.stops.stopped or self.spaces.endless

    def take(self, item: Delta | Thinking) -> list[Delta | Thinking]:
        """What there is to tell people now; nothing more once it has ended."""
        if isinstance(item, Thinking):
            return [item]
        text = self._thoughts.feed(item.text)
        news: list[Delta | Thinking] = [Thinking()] if self._thoughts.thinking else []
        if self._thoughts.retracted:
            news = [Thinking(retract=True)]
            self.stops.reset()
            self.spaces, self._controls = SpaceTrimmer(), ControlTrimmer(self._own)
        text = self._controls.feed(self.stops.feed(text))
        if self.stops.stopped:
            text += self._controls.flush()
        self._last = self.spaces.feed(text)
        return [*news, Delta(self._last)] if self._last else news

    def end(self) -> list[Delta]:
        """The rest, when no more text comes."""
        if not self.ended:
            text = self._controls.feed(self.stops.feed(self._thoughts.flush()) + self.stops.flush())
            self._last = self.spaces.feed(text + self._controls.flush())
        text = self._last + self.spaces.flush()
        return [Delta(text)] if text else []


async def _next(stream: AsyncGenerator[Streamed, None], watch: Watch, name: str, deadlines: Deadlines) -> Streamed:
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

    def reset(self) -> None:
        """Begin anew."""
        self.stopped, self._held = False, ""

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
