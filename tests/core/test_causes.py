"""What went wrong in a library is said in words."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

import aiohttp
import pytest
from yarl import URL

from core.causes import cause


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "canary"), "connection refused"),
        (ConnectionResetError(errno.ECONNRESET, "canary"), "connection reset by peer"),
        (TimeoutError(), "no answer in time"),
        (aiohttp.ServerTimeoutError(), "no answer in time"),
        (socket.gaierror(-2, "canary"), "unknown host name"),
        (ssl.SSLCertVerificationError(1, "canary"), "its certificate is not trusted"),
        (ssl.SSLError(1, "canary"), "no secure connection"),
        (aiohttp.ServerDisconnectedError(), "server disconnected"),
        (aiohttp.ClientPayloadError("canary"), "client payload"),
        (ConnectionError("canary"), "connection"),
    ],
)
def test_no_class_is_named_and_nothing_quoted(error: Exception, words: str) -> None:
    """An address may hold a password."""
    assert cause(error) == words


@pytest.mark.parametrize(
    ("url", "words"), [("http://127.0.0.1:9/", "connection refused"), ("http://canary.invalid/", "unknown host name")]
)
async def test_a_connection_that_fails_says_why(url: str, words: str) -> None:
    """As aiohttp raises it."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError) as failed:
            await asyncio.wait_for(session.get(URL(url)), 10)
    assert cause(failed.value) == words
