"""However much a model's server sends, little of it is kept: the real clients, in a process of their own."""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, repeat

import pytest

SIZE = 500_000_000
MOST_MEGABYTES = 150
BLOCK = b"x" * 250_000

CHILD = """
import asyncio, json, resource, sys
from contextlib import aclosing, suppress
from core.errors import GenerationError
from core.models.generation import Deadlines, generate
from core.models.backends.openai import OpenAIBackend
from core.models.backends.tgi import TgiBackend
from core.model_types import Delta, Done, GenerationRequest, Prompt
from core.types import Role

async def one(backend):
    prompt = Prompt((), (), lambda: "hi", lambda: [(Role.USER, "hi")])
    if sys.argv[1] == "tgi":
        prompt = Prompt((), (), lambda: "hi")
    size, end = 0, ""
    try:
        async with aclosing(generate(backend, GenerationRequest(prompt, 500), Deadlines(60, 60, 120))) as stream:
            async for item in stream:
                size += len(item.text) if isinstance(item, Delta) else 0
                end = item.ending if isinstance(item, Done) else ""
    except GenerationError as error:
        end = type(error).__name__
    try:
        await backend.limits()
    except GenerationError:
        pass
    return end, size

def peak():
    # What getrusage says begins with the memory of the process that forked this one.
    with suppress(OSError), open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

async def main():
    kind = OpenAIBackend if sys.argv[1] == "openai" else TgiBackend
    found = {}
    for name in sys.argv[3:]:
        backend = kind(f"{sys.argv[2]}/{name}", **({"model": "m"} if kind is OpenAIBackend else {}), idle_timeout=60)
        found[name] = await one(backend)
        await backend.aclose()
    print(json.dumps([peak(), found]))

asyncio.run(main())
"""


def zipped(begin: bytes) -> Iterator[bytes]:
    """What swells to ``SIZE``: a thousandth of it."""
    packer = zlib.compressobj(wbits=31)
    yield packer.compress(begin)
    for _ in range(SIZE // len(BLOCK)):
        yield packer.compress(BLOCK)
    yield packer.flush()


def event(**delta: str) -> bytes:
    """One event of a stream."""
    return f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n".encode()


def token(text: str) -> bytes:
    """One event of TGI's."""
    return f"data:{json.dumps({'token': {'id': 1, 'text': text, 'logprob': 0, 'special': False}})}\n\n".encode()


STREAM = "200 OK\r\nContent-Type: text/event-stream"
ZIPPED = "\r\nContent-Encoding: gzip"
BODIES: dict[str, tuple[str, Callable[[], Iterable[bytes]]]] = {
    "refusal": ("500 Internal Server Error", lambda: repeat(BLOCK)),
    "zipped-refusal": ("500 Internal Server Error" + ZIPPED, lambda: zipped(b'{"error": "')),
    "redirect": ("307 Temporary Redirect\r\nLocation: /", lambda: repeat(BLOCK)),
    "page": ("200 OK\r\nContent-Type: text/html", lambda: chain([b"<html>"], repeat(BLOCK))),
    "event": (STREAM, lambda: chain([b"data: "], repeat(BLOCK))),
    "zipped-event": (STREAM + ZIPPED, lambda: zipped(b"data: ")),
    "lines": (STREAM, lambda: repeat(b"data: xxxxxxxx\n" * 10_000)),
    "document": (STREAM, lambda: chain([b'{"choices": [{"message": {"content": "'], repeat(BLOCK))),
    "list": (STREAM, lambda: chain([b"data: ["], repeat(b"{}," * 80_000))),
    "spaces": (STREAM, lambda: repeat(b" \n" * 100_000)),
    "pings": (STREAM, lambda: repeat((b": ping" + b" " * 50_000 + b"\n\n") * 5)),
    "text": (STREAM, lambda: repeat(event(content="word " * 1000) * 10)),
    "reasoning": (STREAM, lambda: repeat(event(reasoning="word " * 1000) * 10)),
    "tagged-reasoning": (STREAM, lambda: chain([event(content="<think>")], repeat(event(content="word " * 1000) * 10))),
    "tokens": (STREAM, lambda: repeat(token("word " * 1000) * 10)),
}
OPENAI = tuple(name for name in BODIES if name != "tokens")
TGI = ("refusal", "zipped-refusal", "redirect", "page", "event", "zipped-event", "pings", "tokens")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request below a name with its body, as long as somebody reads it."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        name = head.split()[1].decode().strip("/").partition("/")[0]
        status, body = BODIES[name]
        writer.write(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n".encode())
        sent = 0
        for piece in body():
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
            if sent > SIZE:
                break
    writer.close()


@pytest.mark.parametrize(("kind", "names"), [("openai", OPENAI), ("tgi", TGI)], ids=["openai", "tgi"])
async def test_half_a_gigabyte_is_not_kept(kind: str, names: tuple[str, ...]) -> None:
    """Of a refusal, a page, an event, a document, a stream or a list of models, packed or not."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, kind, url, *names, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    server.close()
    peak, found = json.loads(output.decode().splitlines()[-1])
    assert peak / 1000 < MOST_MEGABYTES, found
    assert all(size < 20_000 for _, size in found.values())
    assert {end for end, _ in found.values()} <= {"length", "ModelUnavailable", "ModelRefused", "StreamBroken"}
