"""A server is asked once which API it has, and for all who wait."""

from __future__ import annotations

import asyncio

import pytest

from core.errors import ModelRefused, ModelUnavailable
from core.models.backends.detect import DetectedBackend
from core.models.backends.openai import OpenAIBackend
from core.models.backends.server import Server
from tests.contracts.asking import KEY
from tests.doubles.openai import SERVERS, OpenAIDouble
from tests.waiting import wait_until

YES = " Yes."


async def test_nothing_is_learned_from_where_a_redirect_leads() -> None:
    """Neither models, nor limits, nor health, nor what it speaks; and no key goes there."""
    async with OpenAIDouble() as other:

        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 307 Moved\r\nLocation: {other.api}/models\r\nConnection: close\r\n\r\n".encode())
            writer.close()

        listener = await asyncio.start_server(redirect, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        backend, detected = OpenAIBackend(url, api_key=KEY), DetectedBackend(Server(url), lambda api: backend)
        for ask_for in (backend.models, backend.limits, detected.limits):
            with pytest.raises(ModelRefused, match="redirects to") as raised:
                await ask_for()
            assert "MODEL_URL" in raised.value.remedy
        assert not await backend.healthy()
        assert not await detected.healthy()
        assert not other.targets
        await backend.aclose()
        listener.close()


async def test_all_who_wait_for_a_hanging_server_wait_for_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The eighth asker waits as long as the first."""
    monkeypatch.setattr("core.models.backends.detect.PAGE_TIMEOUT", 0.2)
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        connections.append(writer)

    connections: list[asyncio.StreamWriter] = []
    listener = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    backend = DetectedBackend(Server(url), lambda api: OpenAIBackend(url))
    errors = await asyncio.gather(*(backend.known() for _ in range(8)), return_exceptions=True)
    assert asked.is_set()
    assert [type(error) for error in errors] == [ModelUnavailable] * 8
    assert len(connections) == 1
    await backend.aclose()
    for writer in connections:
        writer.close()
    listener.close()


async def test_who_gives_up_waiting_takes_nobody_along() -> None:
    """The others are told what the server speaks."""
    async with OpenAIDouble(SERVERS["llama.cpp"]) as server:
        backend = DetectedBackend(Server(server.url), lambda api: OpenAIBackend(server.url))
        first, second = (asyncio.create_task(backend.known()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert isinstance(await second, OpenAIBackend)
        await backend.aclose()
        await wait_until(lambda: not server.connections, description="connections to be closed")
