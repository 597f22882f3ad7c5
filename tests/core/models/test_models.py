"""Several models behind one answer: failover, patience, budgets; and how they are found."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from core.errors import (
    GenerationError,
    ModelOverloaded,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    PromptTooLong,
    SettingsError,
    StreamBroken,
)
from core.models import models as core_models
from core.models.backends.detect import DetectedBackend, detect
from core.models.backends.openai import OpenAIBackend
from core.models.backends.server import Server
from core.models.backends.tgi import TgiBackend
from core.models.breaker import FAILURES_TO_OPEN, Breaker
from core.models.generation import Deadlines
from core.models.models import INSIDE_BEFORE_WITHHOLDING, AnswerSettings, Model, Models, fixed_template, single_model
from core.models.reasoning import ReasoningOpened
from core.models.table import open_models, read_table
from core.prompts import open_template
from core.prompts.families import ChatTemplate
from core.prompts.guard import guard
from core.prompts.tokens import Calibration, estimate_tokens, read_tokenizer
from core.prompts.window import Fit
from core.settings import load_settings
from core.types import (
    Conversation,
    ConversationKey,
    Delta,
    Done,
    GenerationRequest,
    Message,
    ModelLimits,
    Role,
    Streamed,
    Thinking,
    Usage,
)
from tests.doubles.openai import SERVERS, OpenAIDouble
from tests.doubles.tgi import TgiDouble
from tests.waiting import wait_until

ANSWER_SETTINGS = AnswerSettings("Be kind.", 0.7, 50, ModelLimits(1000, 1200), Deadlines(5, 5, 20))
NOBODY = ConversationKey("test", "T", "C")
QUESTION = Message(Role.USER, "hi", id="q")


class Says:
    """A backend that says the same each time, or raises one error after another first."""

    def __init__(self, text: str, *errors: GenerationError, after: str = "") -> None:
        self.text, self.errors, self.after = text, list(errors), after
        self.asked: list[GenerationRequest] = []
        self.together = asyncio.Barrier(1)
        self.usage: Callable[[GenerationRequest], Usage] = lambda request: Usage()

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Streamed, None]:
        self.asked.append(request)
        await self.together.wait()
        if self.errors:
            if self.after:
                yield Delta(self.after)
            raise self.errors.pop(0)
        yield Delta(self.text)
        yield Done(usage=self.usage(request))

    async def limits(self) -> ModelLimits | None:
        return None

    async def healthy(self) -> bool:
        return True

    async def aclose(self) -> None:
        return None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow one another without a long pause."""
    monkeypatch.setattr(core_models, "BACKOFF_SECONDS", 0.02)


def models(*backends: Says) -> Models:
    """Models that are asked in this order."""
    return Models([Model(backend, fixed_template(open_template("falcon")), name=backend.text) for backend in backends])


async def ask(
    models: Models, answer_settings: AnswerSettings = ANSWER_SETTINGS, *said: Message, background: bool = False
) -> tuple[str, list[Fit]]:
    """What comes out, and the windows that were fitted."""
    text, fits = "", []
    async with aclosing(
        models.ask(Conversation(NOBODY, said), QUESTION, answer_settings, background=background)
    ) as stream:
        async for item in stream:
            match item:
                case Fit():
                    fits.append(item)
                case Delta(more):
                    text += more
                case Thinking(retract=True):
                    text = ""
    return text, fits


# Failover.


@pytest.mark.parametrize(
    "error", [ModelUnavailable("gone"), ModelRefused("no"), PromptTooLong("long"), StreamBroken("x")]
)
async def test_the_next_model_answers_where_one_does_not(error: GenerationError) -> None:
    """Whatever is wrong with the first."""
    first, second = Says("first", error, error, error), Says("second")
    assert (await ask(models(first, second)))[0] == "second"


async def test_nobody_takes_over_once_a_model_has_spoken() -> None:
    """Its error is the answer's; the others are not asked."""
    first, second = Says("first", StreamBroken("cut"), after="some"), Says("second")
    with pytest.raises(StreamBroken, match="cut"):
        await ask(models(first, second))
    assert not second.asked


async def test_what_a_model_quotes_of_its_prompt_has_no_mark_in_it() -> None:
    """Code with a control token in it is guarded on its way in, and whole again on its way out."""
    code = "stop at <|im_end|>, or at </s>"
    assert guard(code) != code
    assert (await ask(models(Says(guard(code)))))[0] == code


async def test_the_chosen_model_is_asked_first() -> None:
    """And the others stand in for it."""
    first, second = Says("first"), Says("second", ModelUnavailable("gone"))
    both = models(first, second)
    assert (await ask(both, AnswerSettings("", 0, 9, ANSWER_SETTINGS.limits, model="second")))[0] == "first"
    assert (await ask(both, AnswerSettings("", 0, 9, ANSWER_SETTINGS.limits, model="second")))[0] == "second"


async def test_if_nobody_answers_the_first_one_says_why() -> None:
    """The others only stood in."""
    with pytest.raises(ModelUnavailable, match="first is gone"):
        await ask(models(Says("a", ModelUnavailable("first is gone")), Says("b", ModelRefused("no"))))


# Patience.


async def test_a_busy_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it says, and a little later each time; three times in all."""
    monkeypatch.setattr(core_models, "BACKOFF_SECONDS", 0.5)
    busy = Says("yes", ModelOverloaded("busy", retry_after=0.05), ModelOverloaded("busy"))
    began = time.monotonic()
    assert (await ask(models(busy)))[0] == "yes"
    assert time.monotonic() - began >= 0.25
    never = Says("no", *[ModelOverloaded("busy", retry_after=0.01)] * 5)
    with pytest.raises(ModelOverloaded):
        await ask(models(never))
    assert len(never.asked) == 3


async def test_who_wants_to_be_left_alone_for_long_is(unused_tcp_port: int) -> None:
    """A person does not wait for an hour; and with somebody else to ask, not even for some seconds."""
    hour = Says("a", ModelOverloaded("busy", retry_after=3600))
    with pytest.raises(ModelOverloaded):
        await ask(models(hour))
    assert (await ask(models(Says("a", ModelOverloaded("busy", retry_after=7)), Says("b"))))[0] == "b"


def refused() -> ModelUnavailable:
    """The server took no connection."""
    error = ModelUnavailable("cannot be reached")
    error.connected = False
    return error


async def test_a_server_that_is_gone_for_a_moment_is_asked_again() -> None:
    """Where no other model can answer; a person sees nothing of its restart. One that answers is not asked again."""
    alone = Says("yes", refused(), refused())
    assert (await ask(models(alone)))[0] == "yes"
    assert len(alone.asked) == 3
    gone, other = Says("a", refused()), Says("b")
    assert (await ask(models(gone, other)))[0] == "b"
    assert len(gone.asked) == 1
    broken = Says("yes", ModelUnavailable("answered HTTP 500"))
    with pytest.raises(ModelUnavailable):
        await ask(models(broken))


async def test_a_server_that_starts_meanwhile_answers(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is tried again, also where nobody knows yet what the server speaks."""
    monkeypatch.setattr(core_models, "BACKOFF_SECONDS", 0.5)
    found = open_models(load_settings(model_url=f"http://127.0.0.1:{unused_tcp_port}"))
    asking = asyncio.create_task(ask(found))
    with capture_logs() as logs:
        await wait_until(
            lambda: any(line["event"] == "model request failed; retrying" for line in logs), description="a second try"
        )
        async with TgiDouble(port=unused_tcp_port):
            assert (await asking)[0]
            await found.aclose()


async def test_nothing_is_asked_again_once_it_has_spoken() -> None:
    """Its first words would stand there twice."""
    cut = Says("yes", refused(), after="some")
    with pytest.raises(ModelUnavailable):
        await ask(models(cut))
    assert len(cut.asked) == 1


async def test_a_long_answer_is_no_failure_of_its_server() -> None:
    """A timeout after the first token keeps nobody else from asking."""
    slow = Says("yes", *[ModelTimeout("too long in all")] * 2 * FAILURES_TO_OPEN, after="some")
    one = models(slow)
    for _ in range(2 * FAILURES_TO_OPEN):
        with pytest.raises(ModelTimeout):
            await ask(one)
    assert (await ask(one))[0] == "yes"


async def test_questions_that_fail_together_are_one_outage() -> None:
    """Seven askers find the server dead at once; it is asked again as soon as after one."""
    now = 0.0
    dead = Says("dead", *[ModelTimeout("silent")] * 7)
    dead.together = asyncio.Barrier(7)
    one = models(dead)
    one.models[0].breaker = Breaker(lambda: now)
    found = await asyncio.gather(*(ask(one) for _ in range(7)), return_exceptions=True)
    assert [type(error) for error in found] == [ModelTimeout] * 7
    now, dead.together = 11.0, asyncio.Barrier(1)
    assert (await ask(one))[0] == "dead"


async def test_a_dead_server_costs_a_new_turn_nothing() -> None:
    """After three turns that found it dead, nobody asks it for a while; then one does, to see."""
    now = 0.0
    dead, alive = Says("dead", *[ModelUnavailable("gone")] * 4), Says("alive")
    both = models(dead, alive)
    both.models[0].breaker = Breaker(lambda: now)
    for _ in range(10):
        assert (await ask(both))[0] == "alive"
    assert len(dead.asked) == FAILURES_TO_OPEN
    now = 11.0
    assert [(await ask(both))[0] for _ in range(3)] == ["alive"] * 3
    assert len(dead.asked) == FAILURES_TO_OPEN + 1
    now = 20.0
    await ask(both)
    assert len(dead.asked) == FAILURES_TO_OPEN + 1  # twice as long the second time
    now = 40.0
    assert (await ask(both))[0] == "dead"
    assert (await ask(both))[0] == "dead"


async def test_a_model_that_was_not_needed_is_asked_when_it_is() -> None:
    """It was dead, and is back; that the first one answers meanwhile does not shut it out."""
    now = 0.0
    gone = [ModelUnavailable("gone")] * FAILURES_TO_OPEN
    first, second = Says("first", *gone), Says("second", *gone)
    both = models(first, second)
    for model in both.models:
        model.breaker = Breaker(lambda: now)
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(ModelUnavailable):
            await ask(both)
    for _ in range(10):
        now += 5
        with suppress(ModelUnavailable):
            assert (await ask(both))[0] == "first"
    first.errors = [ModelUnavailable("gone")]
    assert (await ask(both))[0] == "second"


async def test_where_all_are_dead_a_person_is_told_at_once() -> None:
    """In words that say so."""
    dead = models(Says("dead", *[ModelUnavailable("gone")] * 9))
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(ModelUnavailable):
            await ask(dead)
    with pytest.raises(ModelUnavailable, match="none is asked again yet"):
        await ask(dead)


async def test_what_nobody_waits_for_shuts_nobody_out() -> None:
    """Summaries that fail keep no answer back; and none is asked of a server that is in doubt."""
    frail = Says("an answer", *[ModelUnavailable("gone")] * 2 * FAILURES_TO_OPEN)
    one = models(frail)
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(ModelUnavailable, match="gone"):
            await ask(one, background=True)
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(ModelUnavailable, match="gone"):
            await ask(one)
    with pytest.raises(ModelUnavailable, match="none is asked again yet"):
        await ask(one, background=True)
    assert len(frail.asked) == 2 * FAILURES_TO_OPEN


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
    from core.prompts.huggingface import HuggingFaceTemplate
    from core.types import PromptWindow

    template = HuggingFaceTemplate("{% for m in messages %}{{ m.content }}{% endfor %}<|a|><think>\n")
    model = Model(Says("x"), fixed_template(template))
    assert model.reasoning_opened(template.render(PromptWindow("", (QUESTION,)))) is ReasoningOpened.YES
    assert model.reasoning_opened(open_template("falcon").render(PromptWindow("", (QUESTION,)))) is ReasoningOpened.NO


# Which models there are.


@pytest.fixture
async def tgi() -> AsyncIterator[TgiDouble]:
    """A server that speaks TGI's protocol."""
    async with TgiDouble() as double:
        yield double


@pytest.mark.parametrize("kind", ["tgi", *SERVERS])
async def test_a_server_is_asked_what_it_speaks(kind: str, tgi: TgiDouble) -> None:
    """With or without /v1; TGI is spoken to in its own protocol unless the address says otherwise."""
    if kind == "tgi":
        assert await detect(Server(tgi.url)) == "tgi"
        tgi.info = 404  # a proxy that lets nothing through but the model
        assert await detect(Server(tgi.url)) == "tgi"
        return
    async with OpenAIDouble(SERVERS[kind]) as server:
        assert await detect(Server(server.api)) == "openai"
        assert await detect(Server(server.url)) == ("tgi" if SERVERS[kind].length == "info" else "openai")


async def test_a_server_that_is_away_is_asked_again_later(unused_tcp_port: int) -> None:
    """Nothing is decided before it answers."""
    server = Server(f"http://127.0.0.1:{unused_tcp_port}")
    backend = DetectedBackend(server, lambda api: TgiBackend(str(server.url)))
    assert not await backend.healthy()
    with pytest.raises(ModelUnavailable):
        await backend.limits()
    async with TgiDouble(port=unused_tcp_port):
        assert await backend.healthy()
        assert backend.api == "tgi"
    await backend.aclose()


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("tiiuae/Falcon3-7B-Instruct", "falcon3"),
        ("tiiuae/falcon-7b-instruct", "falcon"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama2"),
        ("google/gemma-2-9b-it", "gemma"),
        ("microsoft/Phi-3-mini-4k-instruct", "phi3"),
        ("/data/models/Falcon3-1B-Instruct", "falcon3"),
        ("tiiuae/Falcon3-7B-Base", "falcon"),  # not trained to chat
        ("NousResearch/Hermes-3-Llama-3.1-8B", "falcon"),  # a Llama that was taught another template
        ("somebody/finetune-7", "falcon"),
        ("", "falcon"),
    ],
)
async def test_tgi_is_written_to_in_the_template_of_its_model_s_family(tgi: TgiDouble, model: str, family: str) -> None:
    """By the name that it tells; the lines of `falcon` where that says nothing."""
    tgi.info = {"model_id": model}
    found = open_models(load_settings(model_url=tgi.url, model_api="tgi"))
    assert (await found.models[0].template()).name == family
    await found.aclose()


async def test_a_tgi_that_does_not_tell_its_model_is_asked_again_when_it_is_back(tgi: TgiDouble) -> None:
    """While it is away, nothing is decided."""
    tgi.info = 503
    found = open_models(load_settings(model_url=tgi.url, model_api="tgi"))
    assert (await found.models[0].template()).name == "falcon"
    tgi.info = {"model_id": "tiiuae/Falcon3-7B-Instruct"}
    assert (await found.models[0].template()).name == "falcon3"
    await found.aclose()


async def test_without_a_template_each_server_gets_what_suits_it(tgi: TgiDouble) -> None:
    """Lines for TGI, messages where the server writes them down; or the template that the server tells."""
    async with OpenAIDouble(SERVERS["llama.cpp"]) as server:
        server.template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        for url, template, path in (
            (tgi.url, "", "/"),
            (server.url, "", "/v1/chat/completions"),
            (server.url, "chatml", "/v1/completions"),
            (server.url, "server", "/v1/completions"),
        ):
            found = open_models(load_settings(model_url=url, prompt_template=template))
            assert (await ask(found))[0]
            await found.aclose()
            assert (tgi if url == tgi.url else server).requests[-1].path == path
        assert server.requests[-1].inputs == "<system>Be kind.<user>hi"
        assert server.requests[-2].inputs.startswith("<|im_start|>system\nBe kind.<|im_end|>\n")


async def test_a_table_names_models_in_order(tmp_path: Path, tgi: TgiDouble, unused_tcp_port: int) -> None:
    """With an address, a key, a template and limits for each; a dead one is passed over."""
    tgi.api_key = "sesame"
    path = tmp_path / "models.toml"
    path.write_text(
        f"""
        [models.large]
        url = "http://127.0.0.1:{unused_tcp_port}/v1"
        name = "Qwen/Qwen3-32B"
        max_new_tokens = 7

        [models.small]
        url = "{tgi.url}"
        api = "tgi"
        key_env = "SMALL_KEY"
        template = "zephyr"
        context_tokens = 8192
        """,
        encoding="utf-8",
    )
    os.environ["SMALL_KEY"] = "sesame"
    try:
        found = open_models(load_settings(models_file=path))
    finally:
        del os.environ["SMALL_KEY"]
    assert found.names == ["large", "small"]
    assert (await ask(found))[0]
    await found.aclose()
    assert tgi.requests[-1].inputs.startswith("<|system|>\nBe kind.</s>")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[models.a", "is not TOML"),
        ("", "models"),
        ("[models.a]\napi = 'tgi'", "models.a has no url"),
        ("[models.a]\nurl = 'ftp://x'", "models.a.url: should begin with http"),
        ("[models.a]\nurl = 'http://x'\nkye = 'canary'", "models.a.kye"),
        ("[models.a]\nurl = 'http://x'\napi = 'canary'", "models.a.api"),
        ("[models.a]\nurl = 'http://x'\nkey_env = 'NO_SUCH_KEY'", "NO_SUCH_KEY"),
        ("[models.'a b']\nurl = 'http://x'", "letters, digits"),
    ],
)
def test_a_wrong_table_says_where(tmp_path: Path, table: str, said: str) -> None:
    """One line for each mistake, with the place, and no value of it."""
    path = tmp_path / "models.toml"
    path.write_text(table, encoding="utf-8")
    with pytest.raises(SettingsError, match="MODELS_FILE") as raised:
        read_table(path)
    assert said in str(raised.value)
    assert "canary" not in str(raised.value)


def test_a_table_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    """Named by its path."""
    with pytest.raises(SettingsError, match=r"nothing\.toml' cannot be read"):
        read_table(tmp_path / "nothing.toml")


async def test_many_ask_for_the_limits_once(tgi: TgiDouble) -> None:
    """One asks for all."""
    one = single_model(TgiBackend(tgi.url), open_template("falcon"), count=estimate_tokens)
    await asyncio.gather(*(ask(one) for _ in range(5)))
    assert tgi.targets.count("/info") == 1


async def test_eight_who_ask_a_hanging_server_wait_as_long_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and says nothing; what it speaks and tells is asked for all of them at once."""
    monkeypatch.setattr("core.models.backends.detect.PAGE_TIMEOUT", 0.2)
    monkeypatch.setattr(core_models, "LIMITS_TIMEOUT", 0.2)
    connections: list[asyncio.StreamWriter] = []

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    listener = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    found = open_models(load_settings(model_url=url))
    errors = await asyncio.gather(*(ask(found) for _ in range(8)), return_exceptions=True)
    assert [type(error) for error in errors] == [ModelUnavailable] * 8
    assert len(connections) <= 2
    await found.aclose()
    for writer in connections:
        writer.close()
    listener.close()
