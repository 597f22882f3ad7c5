"""Log lines have the fields by which a turn is followed, and no secret, whoever wrote them."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.contextvars import bound_contextvars

from bots.log import configure_logging, redact
from core.metrics.tags import tag, turn_fields
from core.types import Author, ConversationKey, Turn

SECRETS = {
    "a socket's ticket": "wss://wss.slack.com/link/?ticket=canary-1&app_id=A1",
    "a header": "Authorization: Bearer canary.canary",
    "another header": "authorization: basic Y2FuYXJ5",
    "a password of Redis": "redis://:canary@redis.internal:6379/0",
    "one with a slash and an at": "rediss://parley:can/ary@canary@redis.internal/0",
    "a bot's token of Slack": "xoxb-1234-canary",
    "a rotated one": "xoxe.xoxp-1-canary",
    "an app's": "xapp-1-A1-canary",
    "a response address": "https://hooks.slack.com/actions/T1/2/canary",
    "a bot's token of Discord": "MTE5ODYyMjQ4MzQ3MTkyNTI0OA.GcANaR.Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5",
    "an interaction": "https://discord.com/api/v10/interactions/1198/aW50ZXJhY3Rpb246Y2FuYXJ5/callback",
    "its follow-up": "PATCH /webhooks/1198622483471925248/canary.-_%3D/messages/@original",
    "an interaction's token alone": "token aW50ZXJhY3Rpb246Y2FuYXJ5canary=",
    "a key like OpenAI's": "sk-proj-canary_canary",
    "a key of Hugging Face": "hf_canarycanary",
    "a web token": "eyJhbGciOiJIUzI1NiIsInR5cCI6.eyJjYW5hcnkiOiJ4In0.Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5",
}
HIDDEN = ("canary", "Y2FuYXJ5", "can/ary")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a process writes that is no terminal."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging("info")
    return written


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_does_not_reach_the_log(lines: io.StringIO, secret: str) -> None:
    """Neither in a line of ours nor in a library's, nor in the words of an error; and JSON stays JSON."""
    structlog.get_logger().warning("refused", error=f'it said "{secret}"')
    logging.getLogger("aiohttp").warning('cannot reach "%s"', secret)
    try:
        raise RuntimeError(secret)
    except RuntimeError:
        structlog.get_logger().exception("internal error")
        logging.getLogger("slack_bolt").exception("a fault with %s", secret)
    text = lines.getvalue()
    assert not [hidden for hidden in HIDDEN if hidden in text]
    assert len([json.loads(line) for line in text.splitlines()]) == 4


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_colours_hide_no_secret(secret: str) -> None:
    """On a terminal, words begin right behind the codes of a colour."""
    for colour in ("\x1b[1m", "\x1b[35m"):
        shown = redact(f"error={colour}{secret}\x1b[0m")
        assert not [hidden for hidden in HIDDEN if hidden in shown]


@pytest.mark.parametrize(
    "line",
    [
        "rate limited retry_after=30.0",
        "a task-force-of-many and a disk-usage-report of shf_somewhere",
        "https://hooks.example.com/actions/1 and http://localhost:8080/info?x=1",
        "core.models.backends.tgi.TgiBackend failed",
        "2026-11-24T19:36:50.216414Z",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    """A log that hides everything helps nobody."""
    assert redact(line) == line


@given(st.text(max_size=200))
def test_redacting_twice_changes_nothing_more(line: str) -> None:
    """And never fails, whatever stands in a line."""
    assert redact(redact(line)) == redact(line)


def test_a_line_says_when_how_grave_what_and_of_which_turn(lines: io.StringIO) -> None:
    """Under the same names everywhere, so that one turn can be followed through all processes."""
    turn = Turn("slack:T1:C1:1700.1", ConversationKey("slack", "T1", "C1"), "lane", Author("U1", "Ada"), "hi", 0.0)
    with bound_contextvars(**turn_fields(turn), job=tag("job"), epoch=7, worker="w1"):
        structlog.get_logger().info("answered", dur_ms=12)
    line = json.loads(lines.getvalue())
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info",
        "event": "answered",
        "platform": "slack",
        "conv": tag("slack:T1:C1"),
        "turn": tag("slack:T1:C1:1700.1"),
        "attempt": 0,
        "job": tag("job"),
        "epoch": 7,
        "worker": "w1",
        "dur_ms": 12,
    }


@given(st.text(), st.text())
def test_a_tag_is_short_stable_and_tells_ids_apart(one: str, other: str) -> None:
    """Ten hex digits, whatever the id is made of."""
    assert len(tag(one)) == 10
    assert int(tag(one), 16) >= 0
    assert (tag(one) == tag(other)) is (one == other)


def test_a_tag_is_the_same_in_every_process() -> None:
    """Also in one of another version: lines of a rolling upgrade belong together."""
    assert tag("slack:T1:C1:1700.1") == "a3f2906fcf"
