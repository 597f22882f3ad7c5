"""Several models behind one answer: failover, retries, and dead servers that cost no time."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from core.errors import (
    GenerationError,
    ModelOverloaded,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    PromptTooLong,
    StreamBroken,
)
from core.models import models as core_models
from core.models.breaker import FAILURES_TO_OPEN, Breaker
from core.models.models import AnswerSettings
from core.models.table import open_models
from core.prompts.guard import guard
from core.settings import load_settings
from tests.core.models.asking import ANSWER_SETTINGS, Says, ask, models
from tests.doubles.tgi import TgiDouble
from tests.waiting import wait_until

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
