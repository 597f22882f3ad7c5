"""How the calls of Discord wait for each other."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import discord
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from discord.http import Route
from hypothesis import given
from hypothesis import strategies as st

from bots.discord.access import Asker, refusal
from bots.discord.budgets import learn
from bots.discord.buttons import ButtonTarget
from bots.discord.calls import Answer, CallPriority, Calls
from bots.discord.settings import DiscordSettings
from core.pacing.budget import CallBudget
from core.settings import load_settings
from tests.examples import examples
from tests.waiting import wait_until


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def free(window: CallBudget) -> bool:
    """Whether a call is free at once; it is spent then."""
    task = asyncio.ensure_future(window.take())
    await asyncio.sleep(0)
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False
    return True


@examples(60)
@given(st.lists(st.floats(0.0, 3.0), max_size=60))
def test_never_more_calls_in_any_window(steps: list[float]) -> None:
    """Whenever they are asked for: five in five seconds, and the sixth not a moment earlier."""

    async def run() -> list[float]:
        hand = Hand()
        window = CallBudget(5, seconds=5.0, clock=hand)
        made = []
        for step in steps:
            hand.now += step
            if await free(window):
                made.append(hand.now)
        return made

    made = asyncio.run(run())
    for first, sixth in zip(made, made[5:], strict=False):
        assert sixth - first >= 5.0


async def test_an_end_that_was_reserved_is_always_there() -> None:
    """Previews take what nobody reserved."""
    hand = Hand()
    window = CallBudget(5, seconds=5.0, clock=hand)
    for _ in range(3):
        await window.reserve()
    assert [await free(window) for _ in range(3)] == [True, True, False]
    for _ in range(3):
        window.spend()
    hand.now += 4.9
    assert not await free(window)
    hand.now += 0.2
    assert await free(window)


async def test_what_discord_says_corrects_the_count() -> None:
    """None left, for so long."""
    hand = Hand()
    window = CallBudget(5, seconds=5.0, clock=hand)
    learn(window, Answer(200, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "2.5"}))
    hand.now += 2.4
    assert not await free(window)


async def test_the_end_of_an_answer_goes_before_previews() -> None:
    """And who has had no sign yet before who has."""
    calls = CallBudget(1, seconds=1.0)
    order: list[CallPriority] = []

    async def call(priority: CallPriority) -> None:
        await calls.reserve(priority)
        order.append(priority)
        calls.release()

    await calls.reserve(CallPriority.PREVIEW)
    priorities = (
        CallPriority.PREVIEW,
        CallPriority.BEGINNING,
        CallPriority.END,
        CallPriority.SIGN,
        CallPriority.PREVIEW,
    )
    tasks = [asyncio.create_task(call(priority)) for priority in priorities]
    await asyncio.sleep(0)
    calls.release()
    await asyncio.gather(*tasks)
    assert order == sorted(priorities)


async def test_never_more_than_so_many_calls_in_a_second() -> None:
    """Counted from when each was answered; one that is given up while it waits costs nothing."""
    calls = CallBudget(10, seconds=0.3)
    made: list[float] = []

    async def call() -> None:
        await calls.reserve(CallPriority.PREVIEW)
        made.append(time.monotonic())
        calls.spend()

    waiting = [asyncio.create_task(call()) for _ in range(30)]
    await asyncio.sleep(0)
    for task in waiting[-5:]:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(made) == 25
    for first, eleventh in zip(made, made[10:], strict=False):
        assert eleventh - first >= 0.3


async def test_a_call_that_nobody_waits_for_any_more_counts_until_it_was_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Typing is given up when the first words are there, and may reach Discord after them."""
    hand, sent, answered = Hand(), asyncio.Event(), asyncio.Event()
    budget = CallBudget(1, seconds=1.0, clock=hand)

    async def hold(_: web.Request) -> web.Response:
        sent.set()
        await answered.wait()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/typing", hold)
    client = discord.Client(intents=discord.Intents.none())
    async with TestServer(app) as server, Calls(client, budget=budget) as calls:
        monkeypatch.setattr(Route, "BASE", str(server.make_url("")).rstrip("/"))
        typing = asyncio.create_task(calls("type", "POST", "/typing", shielded=True))
        await sent.wait()
        typing.cancel()
        await asyncio.gather(typing, return_exceptions=True)
        hand.now += 2.0
        assert not await free(budget), "it is on its way"
        answered.set()
        await wait_until(lambda: not calls._shielded, description="an answer")
        assert not await free(budget), "it counts from its answer on"
    hand.now += 1.1
    assert await free(budget)


@given(st.tuples(*[st.integers(0, 2**64 - 1)] * 5), st.integers(0, 99))
def test_a_handle_fits_into_a_button_and_comes_back(numbers: tuple[int, ...], part: int) -> None:
    """With the longest ids that there can be."""
    target = replace(ButtonTarget(*numbers), part=part)
    assert ButtonTarget.decode(target.encode()) == target
    assert len(f"p1:again:{target.encode()}") <= 100


@pytest.mark.parametrize(
    ("lists", "asker", "why"),
    [
        ({}, Asker("1", "10", ["20"]), ""),
        ({"discord_allow_guilds": "11"}, Asker("1", "10", ["20"]), "on this server"),
        ({"discord_deny_guilds": "10"}, Asker("1", "10", ["20"]), "on this server"),
        ({"discord_allow_channels": "20"}, Asker("1", "10", ["20", "30"]), ""),
        ({"discord_allow_channels": "20"}, Asker("1", "10", ["21"]), "in this channel"),
        ({"discord_deny_channels": "20", "discord_allow_channels": "20"}, Asker("1", "10", ["20"]), "in this channel"),
        ({"discord_allow_users": "2"}, Asker("1", "10", ["20"]), "you"),
        ({"discord_allow_roles": "5"}, Asker("1", "10", ["20"], ["5"]), ""),
        ({"discord_deny_roles": "6", "discord_allow_roles": "5"}, Asker("1", "10", ["20"], ["5", "6"]), "you"),
        ({"discord_allow_dms": "false"}, Asker("1"), "in direct messages"),
        ({"discord_allow_users": "2"}, Asker("1"), "you"),
        ({"discord_allow_channels": "20"}, Asker("1"), ""),
    ],
)
def test_who_may_ask(lists: dict[str, str], asker: Asker, why: str) -> None:
    """What is denied is denied; an empty list of what is allowed allows all."""
    assert refusal(load_settings(DiscordSettings, _env_file=None, **lists), asker) == why


@pytest.mark.parametrize(
    ("lists", "asker", "why"),
    [
        ({}, Asker("9", "10", ["20"]), ""),
        ({"discord_allow_users": "2"}, Asker("9", "10", ["20"]), ""),
        ({"discord_deny_guilds": "10"}, Asker("9", "10", ["20"]), "on this server"),
        ({"discord_deny_channels": "20"}, Asker("9", "10", ["20"]), "in this channel"),
        ({"discord_deny_users": "9"}, Asker("9", "10", ["20"]), "you"),
        ({"discord_deny_roles": "6"}, Asker("9", "10", ["20"], ["6"]), "you"),
        ({}, Asker("8", "10", ["20"]), "you"),
    ],
)
def test_which_bots_may_ask(lists: dict[str, str], asker: Asker, why: str) -> None:
    """Those that are named, and not where or to whom it is denied."""
    assert (
        refusal(load_settings(DiscordSettings, _env_file=None, discord_allow_bots="9", **lists), asker, bot=True) == why
    )
