"""A process says how it is: whether to leave it alone, whether it is of use, and what is wrong, in plain words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import redis.asyncio

from bots.findings import Finding
from bots.health.health import Health, model_probe, redis_probe
from bots.health.http import serve_health
from core import metrics
from core.errors import SettingsError, StorageError
from core.metrics.meters import isolated_values
from core.models.backends.demo import DemoBackend
from core.models.backends.tgi import TgiBackend
from core.models.models import Model, Models, fixed_template, single_model
from core.prompts import open_template
from tests.waiting import wait_until


class Line:
    """A platform that is connected, or not."""

    connected = True


class Visitor:
    """Somebody who looks at the pages."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._address = f"http://127.0.0.1:{port}"

    async def look(self, page: str) -> tuple[int, Any]:
        """Status, and the JSON or the text."""
        async with self._session.get(self._address + page) as response:
            json = response.content_type == "application/json"
            return response.status, await (response.json() if json else response.text())

    async def wrong(self, page: str) -> dict[str, str]:
        """What is not as it should be, by its name."""
        _, body = await self.look(page)
        return {check["name"]: check["found"] for check in body["checks"] if check["state"] != "ok"}


@asynccontextmanager
async def visited(health: Health) -> AsyncIterator[Visitor]:
    """The pages of a process, at any free port."""
    async with serve_health(health, "127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        assert port
        yield Visitor(session, port)


@pytest.fixture
def health() -> Health:
    """Of a process that has started."""
    health = Health()
    health.started()
    return health


async def test_a_process_that_starts_is_alive_and_not_ready() -> None:
    """It is not to be restarted for waiting, and not of use yet."""
    health = Health()
    async with visited(health) as visitor:
        assert (await visitor.look("/livez"))[0] == 200
        assert (await visitor.look("/readyz"))[0] == 503
        assert await visitor.wrong("/readyz") == {"process": "starting"}
        health.started()
        assert (await visitor.look("/readyz")) == (200, {"status": "ok", "checks": []})
        health.stopping()
        assert await visitor.wrong("/readyz") == {"process": "stopping"}
        assert (await visitor.look("/livez"))[0] == 200


async def test_a_loop_that_does_nothing_is_stuck() -> None:
    """A restart would help; while it does not have to go on, nobody asks for it."""
    health, last = Health(stuck_after=30), time.monotonic() - 29
    async with visited(health) as visitor:
        with health.watch_loop("claims", lambda: last):
            assert (await visitor.look("/livez"))[0] == 200
            last -= 5
            assert (await visitor.look("/livez"))[0] == 503
            assert await visitor.wrong("/livez") == {"claims": "no progress for 34 s"}
        assert (await visitor.look("/livez"))[0] == 200


async def test_an_event_loop_that_was_blocked_says_so() -> None:
    """As long as it is late; then it is well again."""
    health = Health(max_lag=0.2)
    async with visited(health) as visitor:
        assert (await visitor.look("/livez"))[0] == 200
        time.sleep(0.8)  # noqa: ASYNC251 - this is what must not happen
        assert "event loop" in await visitor.wrong("/livez")

        async def well() -> bool:
            return (await visitor.look("/livez"))[0] == 200

        await wait_until(well, description="a loop that is on time")


async def test_a_redis_that_is_away_makes_it_not_ready(health: Health, client: redis.asyncio.Redis) -> None:
    """And alive: a restart would not help."""
    health.add_probe("redis", redis_probe(client))
    async with visited(health) as visitor:
        assert (await visitor.look("/readyz"))[0] == 200
        assert 0 < await client.ttl("{parley}:probe") <= 60

    async def away() -> Finding:
        raise StorageError("Redis could not be written to: READONLY", remedy="Check that Redis runs.")

    health = Health()
    health.started()
    health.add_probe("redis", away)
    async with visited(health) as visitor:
        status, body = await visitor.look("/readyz")
        assert (status, body["status"]) == (503, "failed")
        assert body["checks"][0]["remedy"] == "Check that Redis runs."
        assert await visitor.wrong("/readyz") == {"redis": "Redis could not be written to: READONLY"}
        assert (await visitor.look("/livez"))[0] == 200


async def test_a_model_that_is_away_is_no_reason_to_send_people_away(health: Health) -> None:
    """They are told, and can try again."""
    health.add_probe("model", model_probe(single_model(TgiBackend("http://127.0.0.1:1"), open_template("falcon"))))
    async with visited(health) as visitor:
        status, body = await visitor.look("/readyz")
        assert (status, body["status"]) == (200, "degraded")
        assert await visitor.wrong("/readyz") == {"model": "the model's server does not answer"}
        assert "parley doctor" in body["checks"][0]["remedy"]


async def test_one_platform_that_is_connected_is_enough(health: Health) -> None:
    """Two of two away are not; a worker has none, and needs none."""
    slack, discord = Line(), Line()
    health.add_platform("slack", slack)
    health.add_platform("discord", discord)
    async with visited(health) as visitor:
        assert (await visitor.look("/readyz"))[0] == 200
        slack.connected = False
        status, body = await visitor.look("/readyz")
        assert (status, body["status"]) == (200, "degraded")
        assert await visitor.wrong("/readyz") == {"slack": "not connected"}
        discord.connected = False
        assert (await visitor.look("/readyz"))[0] == 503


async def test_many_who_ask_at_once_cost_one_look(health: Health) -> None:
    """A page that anybody can reload is no way to wear Redis out; a probe that hangs holds up nobody for long."""
    looks = 0

    async def look() -> Finding:
        nonlocal looks
        looks += 1
        return Finding("redis", "ok")

    health.add_probe("redis", look)
    async with visited(health) as visitor:
        answers = await asyncio.gather(*(visitor.look("/readyz") for _ in range(20)))
        assert {status for status, _ in answers} == {200}
        assert looks == 1


async def test_the_page_of_metrics_is_up_to_date(health: Health) -> None:
    """Gauges are measured when somebody looks; one that cannot be measured takes no other with it."""
    line = Line()
    health.add_platform("slack", line)

    async def count() -> None:
        metrics.LEASES_HELD.set(4)

    async def fail() -> None:
        raise StorageError("Redis is away")

    health.add_gauge(fail)
    health.add_gauge(count)
    with isolated_values():
        async with visited(health) as visitor:
            status, page = await visitor.look("/metrics")
            assert status == 200
            assert "\nparley_leases_held 4.0\n" in page
            assert '\nparley_socket_connected{platform="slack"} 1.0\n' in page
            assert "\nprocess_resident_memory_bytes " in page
            line.connected = False
            assert '\nparley_socket_connected{platform="slack"} 0.0\n' in (await visitor.look("/metrics"))[1]


async def test_a_port_that_is_taken_is_named() -> None:
    """With what to do about it."""
    async with serve_health(Health(), "127.0.0.1", 0) as port:
        with pytest.raises(SettingsError, match=f"HTTP_PORT: another program uses 127.0.0.1:{port}. Choose"):
            async with serve_health(Health(), "127.0.0.1", port):
                pass
    with pytest.raises(SettingsError, match=r"HTTP_HOST: this machine has no address 192\.0\.2\.1"):
        async with serve_health(Health(), "192.0.2.1", 0):
            pass


async def test_without_a_port_nothing_is_served() -> None:
    """As long as nobody asks for it."""
    async with serve_health(Health(), "127.0.0.1", None) as port:
        assert port is None


async def test_of_several_models_the_one_that_is_away_is_named() -> None:
    """The demo is always there."""
    demo = Model(DemoBackend(), fixed_template(open_template("falcon")), name="demo")
    away = Model(TgiBackend("http://127.0.0.1:1"), fixed_template(open_template("falcon")), name="falcon")
    assert await model_probe(Models([demo]))() == Finding("model", "ok")
    found = await model_probe(Models([demo, away]))()
    assert (found.level, found.found) == ("warning", "the server of falcon does not answer")
