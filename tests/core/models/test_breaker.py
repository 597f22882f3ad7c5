"""A circuit breaker opens for a server that is dead, and closes once it answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models.breaker import FAILURES_TO_OPEN, FIRST_PAUSE, MAX_PAUSE, Attempt, Breaker


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The breaker's clock."""
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """A breaker that knows nothing yet."""
    return Breaker(clock)


def attempt(breaker: Breaker) -> Attempt:
    """An attempt that is let through."""
    found = breaker.attempt()
    assert found
    return found


def fail(breaker: Breaker, times: int = FAILURES_TO_OPEN) -> None:
    """So many attempts that fail one after another."""
    for _ in range(times):
        attempt(breaker).failed()


def test_it_opens_after_some_failures_in_a_row(breaker: Breaker) -> None:
    """A success between them begins the count anew."""
    fail(breaker, FAILURES_TO_OPEN - 1)
    attempt(breaker).succeeded()
    fail(breaker, FAILURES_TO_OPEN - 1)
    assert breaker.closed
    fail(breaker, 1)
    assert breaker.open
    assert breaker.attempt() is None


def test_after_a_pause_one_trial_is_let_through(breaker: Breaker, clock: Clock) -> None:
    """The others wait for what comes of it, and all are let through once it answers."""
    fail(breaker)
    clock.now = FIRST_PAUSE - 0.1
    assert breaker.attempt() is None
    clock.now = FIRST_PAUSE
    trial = attempt(breaker)
    assert trial.trial
    assert breaker.attempt() is None
    trial.succeeded()
    assert not attempt(breaker).trial
    assert breaker.closed


def test_a_failed_trial_doubles_the_pause(breaker: Breaker, clock: Clock) -> None:
    """Up to the longest; a success makes it short again."""
    fail(breaker)
    pause = FIRST_PAUSE
    for _ in range(8):
        clock.now += pause
        attempt(breaker).failed()
        pause = min(2 * pause, MAX_PAUSE)
        clock.now += pause - 0.1
        assert breaker.attempt() is None
        clock.now += 0.1
    attempt(breaker).succeeded()
    fail(breaker)
    clock.now += FIRST_PAUSE
    assert attempt(breaker).trial


def test_failures_that_were_no_trial_change_nothing(breaker: Breaker, clock: Clock) -> None:
    """They began before it opened: seven questions that fail together are one outage."""
    attempts = [attempt(breaker) for _ in range(7)]
    for one in attempts:
        one.failed()
        clock.now += 0.5
    clock.now = 0.5 * (FAILURES_TO_OPEN - 1) + FIRST_PAUSE
    assert attempt(breaker).trial


def test_a_trial_without_an_end_is_followed_by_another(breaker: Breaker, clock: Clock) -> None:
    """The asker was cancelled, say."""
    fail(breaker)
    clock.now = FIRST_PAUSE
    attempt(breaker)
    assert breaker.attempt() is None
    clock.now = 2 * FIRST_PAUSE
    assert attempt(breaker).trial


@given(st.lists(st.tuples(st.sampled_from(["ask", "fail", "succeed"]), st.floats(0, 200)), max_size=40))
def test_nobody_waits_longer_than_the_longest_pause(steps: list[tuple[str, float]]) -> None:
    """Whatever happened before, and in whatever order attempts ended."""
    clock = Clock()
    breaker, under_way = Breaker(clock), []
    for step, seconds in steps:
        clock.now += seconds
        if step == "ask":
            if found := breaker.attempt():
                under_way.append(found)
        elif under_way:
            one = under_way.pop(0)
            one.failed() if step == "fail" else one.succeeded()
    clock.now += MAX_PAUSE
    assert breaker.attempt()
