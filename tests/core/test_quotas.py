"""Quotas are written as people write them, counted by the queue, and explained to who reaches one."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from core.memory.conversations import Memory
from core.quotas import MORE_HINT, Quota, Quotas, reached
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Turn

LIMITS = st.none() | st.integers(1, 10**9)


def turn(number: int, *, user: str = "U1", channel: str = "C1", thread: str = "", platform: str = "slack") -> Turn:
    """Somebody's message."""
    key = ConversationKey(platform, "T1", channel, thread)
    name = f"{platform}:T1:{channel}:{number}"
    return Turn(name, key, f"{key}:{user}:{number}", Author(user, "Ada"), "hello", 0.0)


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("", Quota()),
        ("turns=20/min tokens=200000/day queued=5", Quota(20, 200_000, 5)),
        ("queued=5, turns=20", Quota(turns=20, queued=5)),
        ("TOKENS=200_000/day", Quota(tokens=200_000)),
        ("turns=1/minute", Quota(turns=1)),
    ],
)
def test_any_part_of_a_quota_may_be_set(text: str, quota: Quota) -> None:
    """With the unit or without it; what is left out has no limit."""
    assert Quota.parse(text) == quota
    assert bool(quota) is bool(text)


@given(LIMITS, LIMITS, LIMITS)
def test_what_a_quota_says_of_itself_can_be_read(turns: int | None, tokens: int | None, queued: int | None) -> None:
    """So that it can be shown to who set it."""
    quota = Quota(turns, tokens, queued)
    assert Quota.parse(str(quota)) == quota


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("20", "knows turns, tokens and queued, but not “20”"),
        ("turn=20", "knows turns, tokens and queued, but not “turn=20”"),
        ("turns=", "should say turns=20/min, not “turns=”"),
        ("turns=many", "should say turns=20/min, not “turns=many”"),
        ("turns=-1", "should say turns=20/min, not “turns=-1”"),
        ("queued=x", "should say queued=5, not “queued=x”"),
        ("turns=20/day", "counts turns a minute, and not per day: write turns=20/min"),
        ("tokens=20/min", "counts tokens a day, and not per min: write tokens=20/day"),
        ("queued=5/day", "counts turns that wait now, and not per day: write queued=5"),
        ("turns=0", "should let at least 1 through, not turns=0; leave turns out for no limit"),
        ("turns=1 turns=2", "says turns twice"),
    ],
)
def test_a_quota_that_cannot_be_read_is_explained(text: str, said: str) -> None:
    """In the words of who wrote it."""
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        Quota.parse(text)


@given(st.text(max_size=40))
def test_nothing_but_a_plain_refusal_comes_of_nonsense(text: str) -> None:
    """Whatever stands in a .env."""
    try:
        Quota.parse(text)
    except ValueError as error:
        assert "invalid literal" not in str(error)  # noqa: PT017 - either way is right


def scopes(quotas: Quotas, asked: Turn) -> Sequence[tuple[str, int | None, int | None, int | None]]:
    """What a turn counts for."""
    return quotas.scopes(asked.key, asked.author.id)


def test_a_turn_counts_for_its_author_its_channel_and_its_workspace() -> None:
    """A thread counts for its channel; what has no limit is not counted, nor is what an admin asks."""
    quotas = Quotas(Quota(turns=2), Quota(queued=3), Quota(tokens=4), frozenset({"U9"}))
    assert scopes(quotas, turn(1, thread="1700.1")) == [
        ("user:slack:U1", 2, None, None),
        ("channel:slack:T1:C1", None, None, 3),
        ("workspace:slack:T1", None, 4, None),
    ]
    assert scopes(Quotas(channel=Quota(queued=3)), turn(1)) == [("channel:slack:T1:C1", None, None, 3)]
    assert scopes(quotas, turn(1, user="U9")) == scopes(Quotas(), turn(1)) == []


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_name_forges_a_scope(user: str, channel: str) -> None:
    """Names have no white space, which separates scopes in Redis, and no colons of their own."""
    quotas = Quotas(Quota(turns=1), Quota(turns=1), Quota(turns=1))
    for (scope, *_), colons in zip(scopes(quotas, turn(1, user=user, channel=channel)), (2, 3, 2), strict=True):
        assert len(scope.split()) == 1
        assert scope.count(":") == colons


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            reached("user", "turns", 20, 12),
            f"You've reached the limit of 20 questions a minute. Try again in 12 s. {MORE_HINT}",
        ),
        (
            reached("user", "turns", 1, 0),
            f"You've reached the limit of 1 question a minute. Try again in 1 s. {MORE_HINT}",
        ),
        (
            reached("channel", "turns", 60, 30),
            f"This channel has reached the limit of 60 questions a minute. Try again in 30 s. {MORE_HINT}",
        ),
        (
            reached("workspace", "tokens", 5_000_000, 3 * 3600 + 1),
            f"All of us together have reached the limit of 5,000,000 tokens a day. Try again in 4 hours. {MORE_HINT}",
        ),
        (
            reached("user", "tokens", 200_000, 600),
            f"You've reached the limit of 200,000 tokens a day. Try again in 10 minutes. {MORE_HINT}",
        ),
        (
            reached("user", "queued", 5, 0),
            f"You already have 5 questions waiting, the most allowed. Try again when one is answered. {MORE_HINT}",
        ),
        (
            reached("channel", "queued", 1, 0),
            "This channel already has 1 question waiting, the most allowed. Try again when one is answered. "
            f"{MORE_HINT}",
        ),
    ],
)
def test_who_reaches_a_limit_reads_why_and_until_when(said: str, sentence: str) -> None:
    """In one plain line."""
    assert said == sentence


@pytest.fixture
def submitted(client: redis.asyncio.Redis) -> TurnQueue:
    """A queue in which a person may ask twice a minute, and three questions may wait in a channel."""
    quotas = Quotas(Quota(turns=2), Quota(queued=3), admins=frozenset({"U9"}))
    return TurnQueue(client, Memory(client, retention=60), quotas=quotas)


async def test_the_queue_refuses_what_is_too_much_and_says_so(submitted: TurnQueue) -> None:
    """The person's own limit first; others go on, and an admin always does."""
    for number in (1, 2):
        assert (await submitted.submit(turn(number))).accepted
    refused = await submitted.submit(turn(3))
    assert refused.status == "quota"
    assert refused.note.startswith("You've reached the limit of 2 questions a minute.")
    assert (await submitted.submit(turn(4, user="U2"))).accepted
    full = await submitted.submit(turn(5, user="U3"))
    assert (full.status, full.note[:40]) == ("quota", "This channel already has 3 questions wai")
    assert (await submitted.submit(turn(6, user="U3", channel="C2"))).accepted
    assert (await submitted.submit(turn(7, user="U9"))).accepted
