"""A backend with no model behind it, so that Parley can be tried with nothing at hand.

It never pretends to understand. It says what it is, repeats the question, and lists earlier messages to show that the
conversation is remembered. It can also write some code and a long text, to show layout, splitting and Stop at work.
The same messages always get the same answer.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import AsyncGenerator, Sequence
from itertools import count

from core.model_types import Delta, Done, GenerationRequest, ModelLimits, Usage
from core.prompts import GUARD_MARK, plain_words
from core.types import Ending, Message, Role

_PIECE = re.compile(r"\S{1,16}\s*|\s+")
_WORDS_ASKED = re.compile(r"\b(\d[\d,]{0,8})[ -]words?\b", re.IGNORECASE)
_LONG_ASKED = re.compile(r"\b(long|longer|essay|story|novel)\b", re.IGNORECASE)
_CODE_ASKED = re.compile(r"\b(code|coding|examples?|python|functions?|script|snippet)\b", re.IGNORECASE)

_LONGEST_LOOK = 2000
"""Characters of a message in which anything is looked for."""
_LONG_ANSWER_WORDS = 400
"""Words of a long answer, where no number was asked for."""
_INTRODUCTION = """\
I'm Parley's demo: there is **no model behind me**. I don't understand what you write, but I remember it, and you \
can watch this answer grow. To connect a real model, put this into `.env` and start me again:

```ini
MODEL_URL=http://localhost:8080
```"""
_REMINDER = "_Still the demo, without a model: `MODEL_URL=…` connects one._"
_SUGGESTIONS = "Try *Tea is at four*, then *What did I tell you?* · *Show me some code* · *Write 300 words*"
_CODE = '''\
I can't write code for you, but this is how it looks here:

```python
def greet(name: str) -> str:
    """Say hello."""
    return f"Hello, {name}!"


print(greet("world"))
```'''
_STORY = (
    "The keeper of the lighthouse wrote one line into the log each evening.",
    "The sea was calm, and the lamp was lit at six.",
    "A boat with red sails went by and did not stop.",
    "Towards midnight the wind turned, and the shutters began to talk.",
    "The keeper made tea, trimmed the wick and listened.",
    "Somewhere below, a bell rang twice.",
    "By morning the fog had come, so thick that the stairs ended in it.",
    "Nobody could see the light, but it was lit all the same.",
)


class DemoBackend:
    """Answers at ``rate`` words per second; 0 means without any pause."""

    def __init__(self, *, rate: float = 40) -> None:
        self._rate = rate

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Done, None]:
        """Answer one request; a word, or a part of a very long one, counts as a token. Raises nothing."""
        text = reply(request.prompt.messages, request.max_new_tokens)
        for stop in filter(None, request.prompt.stops):
            # Somebody's words, quoted here, must not end the answer.
            text = text.replace(stop, f"{stop[:-1]}{GUARD_MARK}{stop[-1]}")
        clock = asyncio.get_running_loop().time
        start, written, ending = clock(), 0, Ending.COMPLETE
        for piece in _PIECE.finditer(text):
            if written == request.max_new_tokens:
                ending = Ending.LENGTH
                break
            wait = start + written / self._rate - clock() if self._rate else 0
            await asyncio.sleep(max(wait, 0))
            yield Delta(piece.group())
            written += 1
        yield Done(ending, Usage(completion_tokens=written))

    async def limits(self) -> ModelLimits:
        """The limits of a small model."""
        return ModelLimits(max_input_tokens=8000, max_total_tokens=9000, model="demo")

    async def healthy(self) -> bool:
        """Always True."""
        return True

    async def aclose(self) -> None:
        """There is nothing to close."""


def reply(messages: Sequence[Message], most: int = 1024) -> str:
    """The demo's answer to the last message that a person wrote; ``most`` words of a long text are enough.

    Its first answer in a conversation says what it is and how to connect a model; later ones say so in one line.
    """
    people = [message for message in messages if message.role is Role.USER]
    question = people[-1] if people else Message(Role.USER, "")
    earlier = people[:-1]
    first = not any(message.role is Role.ASSISTANT for message in messages)
    asked = question.text[:_LONGEST_LOOK]
    parts = [
        f"Hello{_comma(question)}! {_INTRODUCTION}" if first else "",
        f"You wrote: {_quote(question.text, 160)}" if question.text.strip() else "",
        _beside(question),
    ]
    if _CODE_ASKED.search(asked):
        parts.append(_CODE)
    elif length := _length(asked, most):
        said = len(" ".join(parts).split()) + (0 if first else len(_REMINDER.split()))
        parts.append(_story(length - said))
    else:
        parts.append(_memories(earlier, question))
        parts.append(_SUGGESTIONS if first else "")
    if not first:
        parts.append(_REMINDER)
    return "\n\n".join(part for part in parts if part)


def _beside(question: Message) -> str:
    """What came with the question, or that nothing did."""
    if said := "\n".join(quote.text for quote in question.quotes):
        return f"With it came: {_quote(said, 160)}" if question.text.strip() else f"You sent me: {_quote(said, 160)}"
    return "" if question.text.strip() else "You sent me nothing to read."


def _comma(question: Message) -> str:
    return f", {question.author.name}" if question.author and question.author.name else ""


def _quote(text: str, most: int) -> str:
    """``text`` in quotation marks: one line, no fence; of a long one its beginning and its size."""
    line = " ".join(text[: most * 16].split()).replace("```", "'''")
    if len(line) <= most and len(text) <= most * 16:
        return f'"{line}"'
    return f'"{_beginning(line, most)}…" ({len(text):,} characters)'


def _beginning(line: str, most: int) -> str:
    """The first ``most`` characters, or a few less where an accent or a part of an emoji would be cut off."""
    end = min(most, len(line) - 1)
    while end > 0 and (line[end - 1] == "\u200d" or unicodedata.category(line[end]) in ("Mn", "Mc", "Me", "Cf", "Sk")):
        end -= 1
    return line[: end or most]


def _memories(earlier: Sequence[Message], question: Message) -> str:
    """What was said before, as far as it was given."""
    if not earlier:
        return "That is the first thing I have been told here."
    people = {message.author.id for message in (*earlier, question) if message.author}
    who = "I have been told" if len(people) > 1 else "You have told me"
    things = "one thing" if len(earlier) == 1 else f"{len(earlier):,} things"
    last = [
        f"- {message.author.name}: {_quote(plain_words(message), 80)}"
        if message.author and message.author.name
        else f"- {_quote(plain_words(message), 80)}"
        for message in earlier[-3:]
    ]
    return "\n".join([f"{who} {things} here before. {'It was' if len(earlier) == 1 else 'The last ones'}:", "", *last])


def _length(text: str, most: int) -> int:
    """How many words are asked for, and at most one more than will be sent; 0 if a long answer is not asked for."""
    if asked := _WORDS_ASKED.search(text):
        return min(int(asked[1].replace(",", "")), most + 1)
    return min(_LONG_ANSWER_WORDS, most + 1) if _LONG_ASKED.search(text) else 0


def _story(words: int) -> str:
    """So many words, in paragraphs; the last sentence may break off."""
    paragraphs: list[str] = []
    for night in count(1):
        if words <= 0:
            break
        paragraph = f"**Night {night}.** {' '.join(_STORY)}".split()[:words]
        words -= len(paragraph)
        paragraphs.append(" ".join(paragraph))
    return "\n\n".join(paragraphs)
