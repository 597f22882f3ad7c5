"""From a command to its first words."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.figures import Figure
from tests.journeys.process import environment


async def measure(quick: bool) -> list[Figure]:
    """``echo hello | parley chat``: to the first word, for the first time and again."""
    del quick
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        first, again = [await _first_words(Path(folder)) for _ in range(2)]
    return [
        Figure("echo hello | parley chat: to the first words", round(first, 2), "s"),
        Figure("the same once more", round(again, 2), "s"),
    ]


async def _first_words(folder: Path) -> float:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bots",
        "chat",
        cwd=folder,
        env=environment(folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"hello\n")
    process.stdin.write_eof()
    await process.stdout.read(1)
    seconds = time.perf_counter() - began
    await process.stdout.read()
    await process.wait()
    return seconds
