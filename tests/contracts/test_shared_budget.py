"""What a budget promises that several processes share, on every Redis: buckets and windows alike."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.core.company import Company


@pytest.fixture(params=["bucket", "window"])
async def company(request: pytest.FixtureRequest, redis_client: Redis) -> AsyncIterator[Company]:
    """Two processes; five calls at once, or in five seconds."""
    company = Company(redis_client, 5, 1) if request.param == "bucket" else Company(redis_client, 5, seconds=5.0)
    yield company
    await company.close()


async def test_the_end_of_a_reply_never_waits_for_previews_of_another_process(company: Company) -> None:
    """A reservation holds against everybody, for as long as it is kept."""
    one, two = company.processes
    one.reserve()
    await company.settle()
    for _ in range(8):
        two.take()
    await company.settle()
    assert len(company.made) == 4
    await one.budget.unblocked()
    one.spend()
    assert len(company.made) == 5
    await company.pass_time(11, step=0.5)
    assert len(company.made) == 9
    company.assert_limit_holds()


async def test_a_refusal_stops_all_processes(company: Company) -> None:
    """The one that heard it at once, the others with their next question; and what was counted too high is gone."""
    one, two = company.processes
    await company.settle()
    one.budget.refused(2)
    await one.budget.sync()
    two.take()
    await company.pass_time(1.75, step=0.25)
    assert company.made == []
    await company.pass_time(4, step=0.25)
    assert len(company.made) == 1
    assert not await two.spare(5)
