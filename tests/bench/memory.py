"""Memory in Redis: time and round trips of a turn, bytes of a conversation."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from core.memory.conversations import Memory
from core.memory.exchange import Exchange
from core.store.connection import connect
from core.store.embedded import embedded_redis
from core.store.keys import Keys
from core.types import Author, ConversationKey, Message, Role
from tests.bench.figures import Figure, milliseconds

WORDS = "so many words as a person writes in a message of the usual length, more or less, and no more than that "


async def measure(quick: bool) -> list[Figure]:
    """A conversation of 200 messages, loaded and appended to."""
    turns = 20 if quick else 300
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        async with embedded_redis(Path(folder)) as url:
            redis = await connect(url)
            memory = Memory(redis, retention=3600)
            key = ConversationKey("slack", "T1", "C1")
            loads, appends, raw = [], [], 0
            for turn in range(turns):
                began = time.perf_counter()
                conversation = await memory.load(key)
                loaded = time.perf_counter()
                pair = (
                    Message(Role.USER, WORDS * 2, id=f"q{turn}", author=Author("U1", "Ada"), at=float(turn)),
                    Message(Role.ASSISTANT, WORDS * 4, id=f"a{turn}", at=turn + 0.5, reply_to=f"q{turn}"),
                )
                await memory.append(Exchange(conversation.key, conversation.epoch, f"q{turn}", "", tuple(pair)))
                loads.append(loaded - began)
                appends.append(time.perf_counter() - loaded)
            before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
            kept = await memory.load(key)
            await memory.append(Exchange(kept.key, kept.epoch, "none", "", ()))
            calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before
            raw = sum(len(message.text.encode()) for message in kept.messages)
            used = await redis.memory_usage(Keys.messages(key), samples=0)
            await redis.aclose()
    return [
        milliseconds("load a conversation of up to 200 messages", loads[turns // 2 :]),
        milliseconds("append a pair to it", appends[turns // 2 :]),
        Figure("calls to Redis of a turn, to load and to append", calls, ""),
        Figure("bytes in Redis to bytes of text", round((used or 0) / raw, 2), "to 1"),
    ]
