"""Looks at the data of embedded redis-servers, and plays one."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import cast

from core.store.connection import connect


async def put(url: str, value: str) -> None:
    """Remember something."""
    client = await connect(url)
    await client.set("said", value)
    await client.aclose()


async def said(url: str, name: str = "said") -> str | None:
    """What is remembered."""
    client = await connect(url)
    value = await client.get(name)
    await client.aclose()
    return cast("str | None", value)


def left_in(folder: Path) -> list[Path]:
    """The data_dirs in which a server did not say goodbye."""
    return [socket.parent.parent for socket in folder.rglob("redis.sock")]


def lives(data_dir: Path) -> bool:
    """Whether a server holds its lock."""
    with (data_dir / "redis" / "server.lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def script(folder: Path, body: str, version: str = "Redis server v=8.2.3 sha=0") -> Path:
    """Something that calls itself a redis-server."""
    file = folder / "redis-server"
    file.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{version}"; exit; fi\n{body}\n')
    file.chmod(0o755)
    return file
