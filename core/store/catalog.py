"""Every kind of key that the core keeps in Redis: its type, what it holds, how long it lives.

Platforms declare theirs beside their adapters. docs/redis.md is made of all of them, and what stands in a key of
another type is put aside as damaged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One kind of key, as docs/redis.md lists it.

    Args:
        name: the name after ``{parley}:``, with placeholders such as ``<conversation>``.
        type: the key's type in Redis: list, hash, set, zset or string.
        holds: what it holds.
        until: how long it lives.
    """

    name: str
    type: Literal["list", "hash", "set", "zset", "string"]
    holds: str
    until: str

    def matches(self, rest: str) -> bool:
        """Whether ``rest``, a key's name after ``{parley}:``, is one of these."""
        return bool(_pattern(self.name).fullmatch(rest))


@cache
def _pattern(name: str) -> re.Pattern[str]:
    pieces = re.split("(<[a-z ]+>)", name)
    return re.compile(
        "".join(_PLACES.get(piece, ".*") if piece[:1] == "<" else re.escape(piece) for piece in pieces), re.DOTALL
    )


_PLACES = {"<conversation>": "[^:]+:[^:]*:[^:]*(:[^:]*)?", "<turn>": ".*(?<!/waiting)", "<day>": "[^:]*"}
"""What a placeholder stands for, where that is not just any text."""

STORED: tuple[StoredKey, ...] = (
    StoredKey(
        "conv:<conversation>:messages",
        "list",
        "messages as JSON (`v`, `id`, `role`, `text`, `at`, `uid`, `name`, `tokens`, `reply_to`, `ending`, `edited`, "
        "`quotes`, `overheard`), in the order in which they were stored; 200 and 256 kB at the most",
        "`RETENTION_DAYS` after the last append",
    ),
    StoredKey(
        "conv:<conversation>:state",
        "hash",
        "`bytes`, `cut` (the window's beginning), `epoch` (how often it was forgotten), "
        "`stranger`, `summary`, `folded` (the last message in it), `voices` (whose words it may tell), `gone` (when "
        "the last message was said that left the list), `changes` (edits and deletions), `noted` (entries of `changed` "
        "so far), `heard` (the listening token under which all of a thread was known), `until` (the question up to "
        "which it is known), `forgotten` (when)",
        "`RETENTION_DAYS` after the last append",
    ),
    StoredKey(
        "conv:<conversation>:settings",
        "string",
        "what people chose, as JSON (`system`, `persona`, `temperature`, `top_p`, "
        "`max_new_tokens`, `model`, `follow`); a thread without its own has its channel's",
        "`RETENTION_DAYS` after the last use",
    ),
    StoredKey(
        "conv:<conversation>:room",
        "list",
        "what was said in a channel, and not to Parley, as JSON like `messages`; 50 at the most; only with `HEAR=room`",
        "two hours after the last one; older ones go with the next",
    ),
    StoredKey(
        "conv:<conversation>:changed",
        "list",
        "edits and deletions in a thread as JSON (`id`, `text`, `quotes`, `edited`, `gone`), for messages that are "
        "stored only later; 100 at the most",
        "a day after the last one",
    ),
    StoredKey(
        "conv:<conversation>:following",
        "hash",
        "of a thread: `joined` (Parley answers there), `known` (it is known who spoke there), `person` (a digest of "
        "the only one who did), `several` (more than one did), `muted`",
        "`RETENTION_DAYS` after the last message there",
    ),
    StoredKey("conv:<conversation>:folding", "string", "that somebody is writing its summary", "two minutes"),
    StoredKey(
        "conv:<conversation>:board",
        "hash",
        "what a platform that keeps no messages itself shows: question, answer so far, stage, note and retry by turn, "
        "as JSON; about 100 at the most",
        "`RETENTION_DAYS` after it changed",
    ),
    StoredKey("conv:<conversation>:forks", "set", "threads that copied from it", "`RETENTION_DAYS` after the last one"),
    StoredKey(
        "conv:<conversation>:facts",
        "hash",
        "what people told to remember about a channel: number to JSON (`v`, `text`, `uid`, `name`, `at`, `corrected`, "
        "`message` and `first` message that told it), and `last` (the highest number given); 100 of 500 "
        "characters at the most",
        "`RETENTION_DAYS` after the last use",
    ),
    StoredKey("conv:<conversation>:retries", "hash", "turns whose reply has a Retry button", "24 hours, each of them"),
    StoredKey(
        "timings",
        "list",
        "how the last 200 answers went, on any platform, as JSON: seconds, tokens, edits, refusals; no text, no name",
        "a day",
    ),
    StoredKey(
        "listening:<platform>",
        "string",
        "since when a platform's messages are heard without a gap, in which mode, and something random",
        "30 seconds after it was last renewed",
    ),
    StoredKey("connections", "zset", "`<platform> up` or `down` `<process>`, and when that was said", "10 seconds"),
    StoredKey("turn:<turn>/waiting", "set", "lanes that wait for this turn", "as long as it is open"),
    StoredKey(
        "turn:<turn>",
        "hash",
        "`token` of the call that stored it, `status` (open, done; unheard: only an edit of it came so far), `lane`, "
        "`job`, `before`, `at`, `note` (that edit)",
        "24 hours after it is answered",
    ),
    StoredKey(
        "seen:<name>",
        "string",
        "that something happened once",
        "24 hours; of a refusal that was told, 10 minutes",
    ),
    StoredKey(
        "lane:<lane>:inbox",
        "list",
        "jobs as JSON (`refs`, `v`, `id`, `alone`, `scopes`, `voices`, `turn`), oldest first; 20 at the most",
        "7 days, if nobody works",
    ),
    StoredKey(
        "lane:<lane>:state",
        "hash",
        "`epoch`, `owner`, `tries`, `count` (turns taken together), `intent`, `refs`, `text`, "
        "`seal`, `note:<turn>`, `last`; of suspects `width` (taken together), `limit` (the most to take together) and "
        "`tells` (tries to tell its author)",
        "10 minutes after its last turn",
    ),
    StoredKey(
        "ready:<platform>",
        "zset",
        "lanes that may be taken; the score is a fair-queuing tag",
        "7 days, if nobody works",
    ),
    StoredKey("held:<platform>", "zset", "lanes that a worker has, and until when", "7 days, if nobody works"),
    StoredKey(
        "suspects:<platform>",
        "zset",
        "lanes whose first turn two workers died with; an idle worker takes half of them at a time",
        "7 days, if nobody works",
    ),
    StoredKey(
        "bell:<platform>", "list", "one token while something is ready; workers block on it", "7 days, if nobody works"
    ),
    StoredKey("clock:<platform>", "string", "the clock of fair queuing", "a day"),
    StoredKey("clock:<platform>:<person>", "string", "when that person's next turn is due", "an hour"),
    StoredKey("epoch", "string", "the number of the last lease", "30 days"),
    StoredKey(
        "schema",
        "string",
        "the number of the form that all this has (`core/archive/schema.py`)",
        "10 years after the last start",
    ),
    StoredKey("quarantine", "string", "which worker looks after suspects", "two leases"),
    StoredKey("workers", "zset", "workers, and when they last spoke", "a day"),
    StoredKey("dead", "list", "dead letters as JSON; 1,000 at the most", "30 days"),
    StoredKey("probe", "string", "that Redis can be written to, for `/readyz`", "a minute"),
    StoredKey("quota:<scope>:turns", "zset", "turns of the last minute", "a minute"),
    StoredKey("quota:<scope>:open", "zset", "turns that wait or are being answered", "7 days, if nobody works"),
    StoredKey("quota:<scope>:tokens:<day>", "string", "tokens of that day", "two days"),
    StoredKey(
        "budget:<name>",
        "hash",
        "`releases`: when each taken slot is free again, `at` (server's ms) and `clock` (the budget's own), `blocked` "
        "until; `of:<process>`: number of its request, calls counted for it, calls it reserved, last heard of, waiting "
        "since, due",
        "until it is full again and no process is heard of, and a minute",
    ),
    StoredKey(
        "<platform>:left",
        "zset",
        "servers, workspaces and channels that were left, and when to forget them",
        "`DISCORD_LEAVE_DAYS` or `SLACK_LEAVE_DAYS`, and a month",
    ),
    StoredKey("feedback:<turn>", "hash", "people to `up` or `down`", "90 days after the last mark"),
)
"""All kinds of keys that the core keeps in Redis. None lives for ever."""
_declared: dict[str, StoredKey] = {key.name: key for key in STORED}


def declare(keys: Iterable[StoredKey]) -> None:
    """Add what a platform keeps for itself: see ``Keys.own``. Declared again, nothing changes."""
    _declared.update((key.name, key) for key in keys)


def key_table(keys: Iterable[StoredKey]) -> str:
    """The table of docs/redis.md, as Markdown."""
    head = "| key | type | holds | lives for |\n|---|---|---|---|\n"
    types = {"zset": "sorted set"}
    return head + "".join(
        f"| `{{parley}}:{key.name}` | {types.get(key.type, key.type)} | {key.holds} | {key.until} |\n" for key in keys
    )


def kind_of(name: str) -> str:
    """The type in Redis that a key should have, by its whole name; "" for one that is none of ours."""
    rest = name.removeprefix("{parley}:")
    return next((key.type for key in _declared.values() if key.matches(rest)), "")
