"""What the demo promises somebody who tries Parley with nothing at hand."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from core.model_types import Delta, Done, GenerationRequest, Prompt
from core.models.backends.demo import DemoBackend, reply
from core.quotes import Quote, QuoteKind
from core.types import Author, Ending, Message, Role

ADA, BOB = Author("U1", "Ada"), Author("U2", "Bob")
ANSWER = Message(Role.ASSISTANT, "an answer")


def says(text: str, author: Author | None = None) -> Message:
    """Somebody's message."""
    return Message(Role.USER, text, author=author)


async def stream(
    *messages: Message, stops: tuple[str, ...] = (), most: int = 1024, rate: float = 0
) -> tuple[list[str], Done]:
    """The pieces of an answer, and its end."""
    request = GenerationRequest(Prompt(messages, stops, lambda: ""), most)
    items = [item async for item in DemoBackend(rate=rate).stream(request)]
    done = items.pop()
    assert isinstance(done, Done)
    return [item.text for item in items if isinstance(item, Delta)], done


def test_the_first_answer_says_what_it_is_and_what_to_do() -> None:
    """No model, how to connect one as a block to copy, what was asked, and what to try."""
    answer = reply([says("hello there", ADA)])
    assert "no model behind me" in answer
    assert "```ini\nMODEL_URL=http://localhost:8080\n```" in answer
    assert 'You wrote: "hello there"' in answer
    assert "Ada" in answer
    assert "What did I tell you?" in answer


def test_it_says_what_came_with_a_question() -> None:
    """And does not call a forward alone nothing."""
    quotes = (Quote(QuoteKind.FORWARD, "It moved.", "Carla"),)
    forward = replace(says("", ADA), quotes=quotes)
    assert 'You sent me: "It moved."' in reply([forward])
    assert 'You wrote: "so?"\n\nWith it came: "It moved."' in reply([replace(says("so?", ADA), quotes=quotes)])
    assert 'Ada: "[forwarded message, by "Carla"] > It moved."' in reply([forward, ANSWER, says("and?", BOB)])


def test_later_answers_say_it_in_one_line() -> None:
    """Whoever reads only the last answer still knows that it is the demo."""
    answer = reply([says("hi"), ANSWER, says("hello")])
    assert answer.count("without a model") == 1
    assert "MODEL_URL" in answer.splitlines()[-1]
    assert "```" not in answer


def test_it_shows_what_it_remembers() -> None:
    """The number of things, and the last three with who said them."""
    said = [says(f"thing {n}", (ADA, BOB)[n % 2]) for n in range(5)]
    answer = reply([*said, ANSWER, says("and now?", ADA)])
    assert "I have been told 5 things here before" in answer
    assert '- Ada: "thing 2"\n- Bob: "thing 3"\n- Ada: "thing 4"' in answer
    assert "thing 1" not in answer
    assert "You have told me one thing here before" in reply([says("hi", ADA), ANSWER, says("ho", ADA)])


@pytest.mark.parametrize("asked", ["Show me some code", "a Python function", "an example?"])
def test_it_shows_code(asked: str) -> None:
    """A fenced block with its language, opened and closed."""
    answer = reply([says("hi"), ANSWER, says(asked)])
    assert "```python\n" in answer
    assert answer.count("```") == 2


@pytest.mark.parametrize(
    ("asked", "words"),
    [("Write 500 words", 500), ("a 2,000-word essay", 2000), ("tell me a long story", 400), ("write 300 words", 300)],
)
@pytest.mark.parametrize("before", [(), (says("hi"), ANSWER)], ids=["first", "later"])
def test_it_writes_as_long_as_it_is_told(asked: str, words: int, before: tuple[Message, ...]) -> None:
    """The whole answer has as many words as were asked for."""
    assert len(reply([*before, says(asked)], 5000).split()) == words


async def test_a_long_answer_is_cut_at_the_limit() -> None:
    """A thousand millions of words cost no more than the limit, and the end says that it was cut."""
    pieces, done = await stream(says("write 999999999 words"), most=200)
    assert len(pieces) == 200
    assert done.ending is Ending.LENGTH
    assert done.usage.completion_tokens == 200


TEXTS = {
    "empty": "",
    "blank": " \n",
    "100 kB": "x" * 100_000,
    "words": "word " * 20_000,
    "emoji": "👩‍👩‍👧‍👦" * 300,
    "CJK": "你好\uff0c世界\u3002" * 100,
    "accents": "e\u0301" * 5000,
    "fence": "```\n# hi\n```",
    "half a pair": "\ud800",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("later", [False, True])
async def test_any_text_gets_a_short_and_sound_answer(text: str, later: bool) -> None:
    """Quoted on one line, cut at a whole character, without a fence that stays open; and always the same."""
    messages = (says(text), ANSWER, says(text)) if later else (says(text),)
    pieces, done = await stream(*messages)
    answer = "".join(pieces)
    assert answer == reply(messages)
    assert len(answer) < 1200
    assert answer.count("```") in (0, 2)
    assert "\u200d…" not in answer
    assert done.ending is Ending.COMPLETE


def test_nothing_to_answer_is_no_error() -> None:
    """A prompt without a message still gets an answer."""
    assert reply([])


async def test_quoted_stop_strings_do_not_end_the_answer() -> None:
    """Somebody who writes a stop string gets a whole answer."""
    pieces, _ = await stream(says("what is <|endoftext|>?"), stops=("<|endoftext|>", ""))
    assert "<|endoftext|>" not in "".join(pieces)
    assert "<|endoftext" in "".join(pieces)


async def test_it_streams_at_its_rate() -> None:
    """About so many words a second, however long a reader takes for one."""
    start = time.monotonic()
    pieces, _ = await stream(says("hi"), ANSWER, says("hello"), rate=200)
    assert time.monotonic() - start >= (len(pieces) - 1) / 200


def test_it_imports_nothing_heavy() -> None:
    """The demo is there at once: no client, no HTTP library."""
    check = (
        "import sys, core.models.backends.demo, core.models.generation; "
        "print([name for name in ('aiohttp', 'text_generation', 'redis', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
