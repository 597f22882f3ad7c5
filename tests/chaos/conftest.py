"""Scenes of chaos that run side by side: most of their time they wait for leases to run out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.chaos.fleet import Fleet, sailing
from tests.nursery import Nursery

Scene = Callable[[Fleet], Awaitable[None]]
SCENES: dict[str, Scene] = {}
AT_ONCE = 5
LEASE = 3.0
"""Seconds: short, and yet long enough for two cores on which five fleets sail."""


def together(scene: Scene) -> Callable[[dict[str, asyncio.Task[None]]], Awaitable[None]]:
    """Make a test of a scene: all that were asked for are played at once, each with a fleet of its own."""
    name = scene.__name__
    SCENES[name] = scene

    async def test(stage: dict[str, asyncio.Task[None]]) -> None:
        await stage[name]

    test.__name__, test.__doc__ = name, scene.__doc__
    return pytest.mark.asyncio(loop_scope="session")(test)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, nursery: Nursery
) -> AsyncIterator[dict[str, asyncio.Task[None]]]:
    """The scenes that are being played, by the names of their tests."""
    asked = [item.name for item in request.session.items if item.name in SCENES]
    room = asyncio.Semaphore(AT_ONCE)

    async def play(name: str) -> None:
        async with room, sailing(tmp_path_factory.mktemp("fleet"), lease=LEASE, nursery=nursery) as fleet:
            try:
                await SCENES[name](fleet)
            except TimeoutError:
                raise AssertionError(f"took too long\n{fleet.log()}") from None

    playing = {name: asyncio.create_task(play(name)) for name in asked}
    yield playing
    for task in playing.values():
        task.cancel()
    await asyncio.gather(*playing.values(), return_exceptions=True)
