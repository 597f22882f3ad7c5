"""Quotas: how much a person, a channel or a workspace can ask for.

A person's quota counts what they ask anywhere on a platform, a channel's what is asked in it and its threads, a
workspace's everything. Admins are exempt: what they ask is not counted. Every model request counts: questions, Retry
and Regenerate (for the person who presses it), and completions on the page. Commands don't, because they use no model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args
from urllib.parse import quote

from core.types import ConversationKey

Scope = Literal["user", "channel", "workspace"]
Measure = Literal["turns", "tokens", "queued"]

EXAMPLE = "turns=20/min tokens=200000/day queued=5"
_UNITS: dict[str, str] = {"turns": "/min", "tokens": "/day", "queued": ""}
_PER: dict[str, tuple[str, ...]] = {
    "turns": ("min", "minute", "m"),
    "tokens": ("day", "d"),
    "queued": (),
}


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that one person, channel or workspace may ask for; None for no limit.

    ``turns`` in any minute, ``tokens`` of prompts and answers in a day (UTC), and ``queued`` turns that wait or are
    being answered.
    """

    turns: int | None = None
    tokens: int | None = None
    queued: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``turns=20/min tokens=200000/day queued=5``, or any part of it.

        Raises:
            ValueError: the message says what is wrong with it, in the operator's words.
        """
        limits: dict[str, int] = {}
        for part in text.replace(",", " ").split():
            measure, limit = _read(part)
            if measure in limits:
                raise ValueError(f"says {measure} twice")
            limits[measure] = limit
        return cls(**limits)

    def __str__(self) -> str:
        """As ``parse`` reads it."""
        limits = ((measure, getattr(self, measure)) for measure in get_args(Measure))
        return " ".join(f"{measure}={limit}{_UNITS[measure]}" for measure, limit in limits if limit is not None)

    def __bool__(self) -> bool:
        """Whether it limits anything."""
        return self != Quota()


NO_QUOTA = Quota()
MORE_HINT = "If you need more, ask {contact}."


@dataclass(frozen=True, slots=True)
class Quotas:
    """The quotas of a deployment, and the ids of its ``admins``."""

    user: Quota = NO_QUOTA
    channel: Quota = NO_QUOTA
    workspace: Quota = NO_QUOTA
    admins: frozenset[str] = frozenset()

    def scopes(self, key: ConversationKey, person: str) -> Sequence[tuple[str, int | None, int | None, int | None]]:
        """The scopes that a person's question counts for: a name without white space, turns, tokens, queued turns."""
        return [(_name(scope, key, person), q.turns, q.tokens, q.queued) for scope, q in self._limits(person)]

    def explain(self, number: int, measure: str, seconds: int, person: str) -> str:
        """The message to a person who reached a limit, with placeholders for ``core.policy.Venue.tell``.

        Args:
            number: index of the scope in ``scopes``.
            measure: which of its limits was reached.
            seconds: until it allows more; 0 if not known.
            person: their id.
        """
        scope, quota = self._limits(person)[number]
        found = next(name for name in get_args(Measure) if name == measure)
        return reached(scope, found, getattr(quota, found), seconds)

    def _limits(self, person: str) -> list[tuple[Scope, Quota]]:
        if person in self.admins:
            return []
        # The narrowest first: a person who reaches two limits is told about their own.
        limits: list[tuple[Scope, Quota]] = [
            ("user", self.user),
            ("channel", self.channel),
            ("workspace", self.workspace),
        ]
        return [(scope, quota) for scope, quota in limits if quota]


def reached(scope: Scope, measure: Measure, limit: int, seconds: int) -> str:
    """The message about a reached limit, with placeholders for ``Venue.tell``."""
    who, already = {
        "user": ("You've", "You already have"),
        "channel": ("This channel has", "This channel already has"),
        "workspace": ("All of us together have", "All of us together already have"),
    }[scope]
    questions = f"{limit:,} question{'s' * (limit != 1)}"
    match measure:
        case "turns":
            said = f"{who} reached the limit of {questions} a minute. Try again in {_wait(seconds)}."
        case "tokens":
            said = f"{who} reached the limit of {limit:,} tokens a day. Try again in {_wait(seconds)}."
        case "queued":
            said = f"{already} {questions} waiting, the most allowed. Try again when one is answered."
    return f"{said} {MORE_HINT}"


def _read(part: str) -> tuple[str, int]:
    """One limit; raises ValueError."""
    found = re.fullmatch(r"([a-z]+)=([0-9_]+)(?:/([a-z]+))?", part.lower())
    measures = get_args(Measure)
    name = part.split("=", maxsplit=1)[0].lower()
    if name not in measures:
        raise ValueError(f"knows {', '.join(measures[:-1])} and {measures[-1]}, but not “{part[:40]}”")
    if not found or not found[2].strip("_"):
        raise ValueError(f"should say {name}={'20' if name == 'turns' else '5'}{_UNITS[name]}, not “{part[:40]}”")
    measure, number, per = found[1], int(found[2].replace("_", "")), found[3]
    if per and per not in _PER[measure]:
        counted = {"turns": "turns a minute", "tokens": "tokens a day", "queued": "turns that wait now"}[measure]
        raise ValueError(f"counts {counted}, and not per {per}: write {measure}={number}{_UNITS[measure]}")
    if number < 1:
        raise ValueError(f"should let at least 1 through, not {measure}={number}; leave {measure} out for no limit")
    return measure, number


def _name(scope: Scope, key: ConversationKey, person: str) -> str:
    parts = {
        "user": (key.platform, person),
        "channel": (key.platform, key.workspace, key.channel),
        "workspace": (key.platform, key.workspace),
    }[scope]
    return ":".join((scope, *(quote(part, safe="@.-_") for part in parts)))


def _wait(seconds: int) -> str:
    """A duration for people, rounded up to minutes or hours."""
    seconds = max(1, seconds)
    if seconds < 120:
        return f"{seconds} s"
    minutes = -(-seconds // 60)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{-(-minutes // 60)} hours"
