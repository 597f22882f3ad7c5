"""What holds around every backend: deadlines, stop strings, white space, and one end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from core.errors import GenerationError, ModelTimeout, ModelUnavailable, StreamBroken
from core.model_types import Delta, Done, GenerationRequest, ModelLimits, Prompt, Streamed, Thinking, Usage
from core.models.generation import (
    CHARACTERS_PER_TOKEN,
    EXTRA_CHARACTERS,
    MAX_WHITE_SPACE,
    Deadlines,
    StopTrimmer,
    generate,
)
from core.types import Ending
from tests.examples import examples
from tests.waiting import wait_until

FALCON = ("\nUser:", "<|endoftext|>")
PATIENT = Deadlines()
DONE = Done(usage=Usage(3, 4))

Step = str | float | Done | Thinking | Exception


class Scripted:
    """A backend that plays steps: text, seconds to wait, an end, or an error to raise."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.played = 0
        self.closed = False

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Streamed, None]:
        """Play the steps."""
        try:
            for step in self.steps:
                self.played += 1
                match step:
                    case str():
                        yield Delta(step)
                    case Done() | Thinking():
                        yield step
                    case Exception():
                        raise step
                    case seconds:
                        await asyncio.sleep(seconds)
        finally:
            self.closed = True

    async def limits(self) -> ModelLimits | None:
        """None."""
        return None

    async def healthy(self) -> bool:
        """Always."""
        return True

    async def aclose(self) -> None:
        """Nothing."""


def ask(*stops: str) -> GenerationRequest:
    """A request whose answer ends at ``stops``."""
    return GenerationRequest(Prompt((), stops, lambda: "Assistant:"), 100)


async def collect(
    backend: Scripted, *stops: str, deadlines: Deadlines = PATIENT
) -> tuple[list[str], Done | GenerationError]:
    """The pieces of text, and the end or the error that ended them."""
    pieces: list[str] = []
    try:
        async with aclosing(generate(backend, ask(*stops), deadlines)) as stream:
            async for item in stream:
                if isinstance(item, Done):
                    end = item
                elif isinstance(item, Delta):
                    pieces.append(item.text)
    except GenerationError as error:
        return pieces, error
    return pieces, end


def cut(text: str, stops: tuple[str, ...]) -> str:
    """What should be left of ``text``: up to the first stop string."""
    return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]


texts = st.text(alphabet="ab\n :U", max_size=40) | st.text(max_size=40)
stop_lists = st.lists(st.text(alphabet="ab\n :U", min_size=1, max_size=5), max_size=4).map(tuple)


@given(st.lists(texts, max_size=12), stop_lists)
@example(["x\nUs", "er: more"], FALCON)
@example(["x\nUser:\n"], FALCON)
@example(["xab", "y"], ("ab", "xaby"))
@example(["xab", "z"], ("ab", "xaby"))
@examples(250)
async def test_the_answer_is_the_text_up_to_the_first_stop_however_it_is_chunked(
    chunks: list[str], stops: tuple[str, ...]
) -> None:
    """Joined, the pieces are the text, cut at a stop string and without white space before it."""
    text = "".join(chunks)
    assume("<|" not in text)  # control strings are taken out: see test_controls
    pieces, end = await collect(Scripted(*chunks, DONE), *stops)
    assert "".join(pieces) == cut(text, stops).lstrip()
    assert all(pieces)
    assert isinstance(end, Done)


@given(st.text(alphabet="ab", max_size=60), stop_lists)
@examples(100)
def test_only_a_beginning_of_a_stop_is_held_back(text: str, stops: tuple[str, ...]) -> None:
    """After each character, what is not shown yet could still become a stop string."""
    trimmer, shown = StopTrimmer(stops), ""
    for place, character in enumerate(text, 1):
        shown += trimmer.feed(character)
        if trimmer.stopped:
            break
        held = text[len(shown) : place]
        assert not held or any(stop.startswith(held) for stop in stops)


async def test_text_is_passed_on_at_once() -> None:
    """A piece is there before the backend makes the next one."""
    backend = Scripted(" Hello", " wor", "ld", DONE)
    async with aclosing(generate(backend, ask(*FALCON), PATIENT)) as stream:
        for number, text in enumerate(("Hello", " wor", "ld"), 1):
            assert await anext(stream) == Delta(text)
            assert backend.played == number


async def test_empty_pieces_are_not_passed_on() -> None:
    """A token without text is nobody's news."""
    assert await collect(Scripted("", "a", "", "b", "", DONE)) == (["a", "b"], DONE)


async def test_a_stop_frees_the_server() -> None:
    """Once a stop string is met, the backend's stream is closed before the last text is handed over."""
    backend = Scripted("Hello\nUser: and", 60.0, "never", DONE)
    async with aclosing(generate(backend, ask(*FALCON), PATIENT)) as stream:
        assert await anext(stream) == Delta("Hello")
        assert backend.closed
        assert await anext(stream) == Done()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_an_ending_at_a_stop_is_complete() -> None:
    """Even if the server ran into its limit while a longer stop string was still possible."""
    pieces, end = await collect(Scripted("xab", Done(Ending.LENGTH)), "ab", "xabc")
    assert (pieces, end) == (["x"], Done(Ending.COMPLETE))


@pytest.mark.parametrize("lead", ["", " Well"])
@pytest.mark.parametrize("size", [1, 7, 500])
async def test_endless_white_space_ends_the_answer(lead: str, size: int) -> None:
    """A model that writes nothing but line ends is cut off; none of them is shown."""
    backend = Scripted(lead, *[" \n" * size] * 400, 60.0, DONE)
    pieces, end = await collect(backend, *FALCON)
    assert "".join(pieces) == lead.strip()
    assert end == Done(Ending.LENGTH)
    assert backend.closed
    assert backend.played <= 2 + MAX_WHITE_SPACE


async def test_much_white_space_is_kept() -> None:
    """A wide table is text, before and after."""
    wide = f"a{' ' * MAX_WHITE_SPACE}b{' ' * MAX_WHITE_SPACE}"
    pieces, end = await collect(Scripted(*wide, DONE))
    assert ("".join(pieces), end) == (wide, DONE)


@pytest.mark.parametrize(
    ("steps", "deadlines", "text", "setting"),
    [
        ((60.0,), Deadlines(0.05, 60, 60), "", "FIRST_TOKEN_TIMEOUT"),
        (("a", 60.0), Deadlines(60, 0.05, 60), "a", "BETWEEN_TOKENS_TIMEOUT"),
        (("a", 0.02) * 100, Deadlines(60, 60, 0.05), None, "TOTAL_TIMEOUT"),
        ((60.0,), Deadlines(60, 60, 0.05), "", "TOTAL_TIMEOUT"),
    ],
    ids=["first", "between", "total", "total before the first"],
)
async def test_a_deadline_names_its_setting(
    steps: tuple[Step, ...], deadlines: Deadlines, text: str | None, setting: str
) -> None:
    """Silence ends with an error that says how long was waited and what to set."""
    backend = Scripted(*steps)
    pieces, error = await collect(backend, deadlines=deadlines)
    assert isinstance(error, ModelTimeout)
    assert "0.05 s" in str(error)
    assert re.search(rf"\b{setting}\b", error.remedy)
    assert text is None or "".join(pieces) == text
    assert backend.closed


async def test_tokens_without_text_do_not_count_as_life() -> None:
    """A server that sends empty pieces for ever is silent all the same."""
    _, error = await collect(Scripted("a", *("", 0.01) * 100), deadlines=Deadlines(60, 0.05, 60))
    assert isinstance(error, ModelTimeout)


async def test_a_slow_reader_is_not_the_models_fault() -> None:
    """The time between two steps of the caller counts for neither of the short deadlines."""
    async with aclosing(generate(Scripted("a", "b", DONE), ask(), Deadlines(0.05, 0.05, 60))) as stream:
        async for _ in stream:
            await asyncio.sleep(0.08)


async def test_each_step_may_be_taken_in_a_task_of_its_own() -> None:
    """Deadlines hold for a caller that waits for several things at once."""
    async with aclosing(generate(Scripted("a", 60.0), ask(), Deadlines(60, 0.05, 60))) as stream:
        assert await asyncio.create_task(anext(stream)) == Delta("a")
        with pytest.raises(ModelTimeout):
            await asyncio.create_task(anext(stream))


async def test_a_backends_own_timeout_is_not_taken_for_ours() -> None:
    """Only what expired here is reported as a deadline."""
    with pytest.raises(TimeoutError, match="theirs"):
        await collect(Scripted("a", TimeoutError("theirs")))


async def test_a_stream_without_an_end_is_broken() -> None:
    """An answer counts as whole only if the backend says so."""
    pieces, error = await collect(Scripted("a"))
    assert pieces == ["a"]
    assert isinstance(error, StreamBroken)


async def test_half_a_stop_is_not_shown_when_the_stream_breaks() -> None:
    """What was yielded stands; what may have been a stop string is dropped."""
    pieces, error = await collect(Scripted("Hello\nUse", ModelUnavailable("gone")), *FALCON)
    assert pieces == ["Hello"]
    assert isinstance(error, ModelUnavailable)


async def test_closing_early_closes_the_backend() -> None:
    """Whoever stops reading frees the server at once."""
    backend = Scripted("a", 60.0, DONE)
    async with aclosing(generate(backend, ask(), PATIENT)) as stream:
        await anext(stream)
    assert backend.closed


async def test_cancelling_closes_the_backend() -> None:
    """Also in the middle of a wait."""
    backend = Scripted("a", 60.0, DONE)
    task = asyncio.create_task(collect(backend))
    await wait_until(lambda: backend.played == 2, description="the second step")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.closed


async def test_nothing_follows_the_end() -> None:
    """One Done, and it is the last."""
    assert await collect(Scripted("a", DONE, "b", DONE)) == (["a"], DONE)


# Reasoning and turn marks.


async def test_reasoning_that_comes_apart_is_no_part_of_the_answer() -> None:
    """However much of it there is."""
    pieces, end = await collect(Scripted(Thinking(text="They want"), Thinking(text=" one."), "Teal.", DONE))
    assert (pieces, end) == (["Teal."], DONE)


@pytest.mark.parametrize(
    "steps",
    [
        (Thinking(text="Paris is"), Thinking(text=" the capital."), DONE),
        ("<think>Paris is", " the capital.", DONE),
        ("analysis", "Paris is the capital.", DONE),
        (Thinking(text="<|im_start|>assistant\nParis is the capital.<|im_end|>"), DONE),
        ("Paris is the capital.</think>", DONE),
    ],
    ids=["apart", "no end", "harmony", "turn marks in it", "nothing after it"],
)
async def test_reasoning_is_the_answer_if_nothing_else_comes(steps: tuple[Step, ...]) -> None:
    """Some servers take all of an answer for reasoning, and some models never say where it ends."""
    pieces, end = await collect(Scripted(*steps))
    assert ("".join(pieces), end) == ("Paris is the capital.", DONE)


@pytest.mark.parametrize("steps", [(Thinking(text="Paris is"),), ("<think>Paris is",)])
async def test_reasoning_that_was_cut_off_is_no_answer(steps: tuple[Step, ...]) -> None:
    """The model was not done with it."""
    assert await collect(Scripted(*steps, Done(Ending.LENGTH))) == ([], Done(Ending.LENGTH))


@pytest.mark.parametrize("mark", ["<|im_end|>", "<end_of_turn>", "<|eot_id|>", "\n<|im_start|>user\n", "<|user|>"])
async def test_a_turn_mark_ends_the_answer_and_frees_the_server(mark: str) -> None:
    """Whatever it would write after it, and in whatever pieces it comes."""
    for pieces in ([mark], [*mark]):
        backend = Scripted("Seven.", *pieces, " More.", 60.0, DONE)
        shown, end = await collect(backend)
        assert ("".join(shown), end) == ("Seven.", Done())
        assert backend.closed


async def test_what_was_taken_back_is_so_where_the_answer_ends_at_once() -> None:
    """All of it in one piece, with the turn's end behind it."""
    backend = Scripted("hm", "\n</think>\nSeven.<|im_end|> More.", 60.0, DONE)
    async with aclosing(generate(backend, ask(), PATIENT)) as stream:
        heard = [item async for item in stream]
    assert heard == [Delta("hm"), Thinking(retract=True), Delta("Seven."), Done(began_inside=True)]


@pytest.mark.parametrize("step", ["word " * 50, Thinking(text="word " * 50)], ids=["text", "reasoning"])
async def test_a_server_that_ignores_the_limit_is_cut_off(step: str | Thinking) -> None:
    """An answer of 100 tokens has so many characters at most, and so has its reasoning; the end says so."""
    backend = Scripted(*[step] * 1000, DONE)
    pieces, end = await collect(backend)
    most = CHARACTERS_PER_TOKEN * 100 + EXTRA_CHARACTERS
    assert len("".join(pieces)) <= most
    assert end == Done(Ending.LENGTH)
    assert backend.closed
    assert backend.played <= most / 250 + 1


@pytest.mark.parametrize("half", ["<|i", "<|im_end|", "<end_of_tur", "<|eot_id", "[/INST"])
async def test_half_a_turn_mark_at_the_end_is_not_shown(half: str) -> None:
    """The answer was cut off in the middle of it."""
    for ending in (Ending.LENGTH, Ending.COMPLETE):
        pieces, _ = await collect(Scripted("Seven.", *half, Done(ending)))
        assert "".join(pieces) == "Seven."
    assert (await collect(Scripted("a", " <", DONE)))[0] == ["a", " <"]
