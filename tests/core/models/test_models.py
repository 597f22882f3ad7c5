"""What a model learns from its answers: the real size of prompts, and where its reasoning begins."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import (
    PromptTooLong,
    SettingsError,
)
from core.model_types import Delta, Streamed, Thinking, Usage
from core.models.backends.openai import OpenAIBackend
from core.models.models import INSIDE_BEFORE_WITHHOLDING, Model, Models, fixed_template, single_model
from core.models.reasoning import ReasoningOpened
from core.prompts import open_template
from core.prompts.families import ChatTemplate
from core.prompts.tokens import Calibration, read_tokenizer
from core.prompts.window import Fit
from core.types import Conversation, Message, Role
from tests.core.models.asking import ANSWER_SETTINGS, NOBODY, QUESTION, Says, ask, models
from tests.doubles.openai import SERVERS, OpenAIDouble

# Budgets.


async def test_a_prompt_that_is_refused_is_cut_once_more() -> None:
    """And no more than once."""
    said = tuple(Message(Role.USER, f"word {n} " * 10, id=f"m{n}", tokens=30) for n in range(25))
    backend = Says("yes", PromptTooLong("too long"))
    text, fits = await ask(models(backend), ANSWER_SETTINGS, *said)
    assert text == "yes"
    assert fits[1].tokens < 0.7 * fits[0].tokens
    stubborn = Says("no", *[PromptTooLong("too long")] * 3)
    with pytest.raises(PromptTooLong):
        await ask(models(stubborn), ANSWER_SETTINGS, *said)
    assert len(stubborn.asked) == 2


async def test_what_the_server_counts_corrects_the_estimate() -> None:
    """For a model whose tokens are half as large, the next window holds half as much."""
    said = tuple(Message(Role.USER, f"word {n} " * 10, id=f"m{n}", tokens=30) for n in range(25))
    backend = Says("yes")
    one = models(backend)
    _, (before,) = await ask(one, ANSWER_SETTINGS, *said)
    backend.usage = lambda request: Usage(prompt_tokens=2 * before.tokens)
    await ask(one, ANSWER_SETTINGS, *said)
    backend.usage = lambda request: Usage()
    _, (after,) = await ask(one, ANSWER_SETTINGS, *said)
    assert one.models[0].calibration.ratio == pytest.approx(2, abs=0.05)
    assert after.tokens <= before.tokens / 1.9


@given(st.lists(st.tuples(st.integers(200, 10_000), st.floats(0.3, 3)), min_size=1, max_size=30))
def test_a_calibrated_window_never_exceeds_what_was_seen(samples: list[tuple[int, float]]) -> None:
    """The last prompt, with the room that it teaches, would have fitted."""
    calibration = Calibration()
    for estimated, ratio in samples:
        calibration.learn(estimated=estimated, real=int(estimated * ratio))
    last = samples[-1][1]
    assert calibration.room(1000) * last <= 1000 * (1 + 0.01)


def test_a_tokenizer_counts_as_the_model_does(tmp_path: Path) -> None:
    """From its file; what is none is a wrong setting."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert read_tokenizer(tmp_path)("a b a \ud800") == 4
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SettingsError, match="TOKENIZER"):
        read_tokenizer(tmp_path / "tokenizer.json")


# Reasoning.


async def heard_from(one: Models) -> list[Fit | Streamed]:
    """All that comes out of one question."""
    async with aclosing(one.ask(Conversation(NOBODY), QUESTION, ANSWER_SETTINGS)) as stream:
        return [item async for item in stream]


async def test_a_model_that_keeps_beginning_in_its_reasoning_is_waited_for() -> None:
    """Once several answers in a row took something back, nothing of the next is shown before its reasoning is over."""
    async with OpenAIDouble(SERVERS["vllm"]) as server:
        server.habits = type(server.habits)(reasoning="open")
        server.thoughts, server.answer = [" they", " want"], " yes"
        backend = OpenAIBackend(server.api)
        one = single_model(backend, ChatTemplate())
        for _ in range(INSIDE_BEFORE_WITHHOLDING):
            assert Thinking(retract=True) in await heard_from(one)
        heard = await heard_from(one)
        await backend.aclose()
    assert Thinking(retract=True) not in heard
    assert "".join(item.text for item in heard if isinstance(item, Delta)) == "yes"


async def test_what_one_answer_did_holds_nobody_elses_back() -> None:
    """Somebody had it write an end tag on a line of its own; the next answers stream as before."""
    backend = Says("It ends so:\n</think>\nand then it answers.")
    one = models(backend)
    assert Thinking(retract=True) in await heard_from(one)
    backend.text = "All is well."
    for _ in range(2):
        heard = await heard_from(one)
        assert next(item for item in heard if not isinstance(item, Fit)) == Delta("All is well.")


def test_a_prompt_that_opens_the_reasoning_says_so() -> None:
    """Its template is ours, so it need not be learned."""
    from core.model_types import PromptWindow
    from core.prompts.huggingface import HuggingFaceTemplate

    template = HuggingFaceTemplate("{% for m in messages %}{{ m.content }}{% endfor %}<|a|><think>\n")
    model = Model(Says("x"), fixed_template(template))
    assert model.reasoning_opened(template.render(PromptWindow("", (QUESTION,)))) is ReasoningOpened.YES
    assert model.reasoning_opened(open_template("falcon").render(PromptWindow("", (QUESTION,)))) is ReasoningOpened.NO
