"""``parley doctor`` on the page: it finds what would keep it from opening, in the same words."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.bots.doctor.reports import Settings, listed


@pytest.mark.parametrize(
    ("settings", "check", "words"),
    [
        ({"WEB_HOST": "0.0.0.0"}, "page.login", ("0.0.0.0 would let in everybody", "Set WEB_USER and")),
        ({"WEB_USER": "team"}, "page.login", ("WEB_PASSWORD: is needed, too", "WEB_USER=team and WEB_PASSWORD=")),
        ({"WEB_PASSWORD": "canary"}, "page.login", ("WEB_USER: is needed, too", "WEB_USER=team and WEB_PASSWORD=")),
        (
            {"WEB_USER": "a", "WEB_PASSWORD": "canary", "WEB_AUTH_HEADER": "X"},
            "page.login",
            ("contradict each other", "Choose one"),
        ),
        (
            {"WEB_HOST": "203.0.113.7", "WEB_PORT": "7860", "WEB_AUTH_HEADER": "X"},
            "page.port",
            ("cannot have 203.0.113.7:7860 (Cannot assign requested address)", "WEB_HOST=127.0.0.1"),
        ),
    ],
)
async def test_a_page_that_would_not_open_is_wrong(
    tmp_path: Path, redis_url: str, settings: Settings, check: str, words: tuple[str, str]
) -> None:
    """And no password is shown."""
    report = await listed(tmp_path, {"REDIS_URL": redis_url, **settings})
    assert (report.code, report.failed) == (1, {check})
    assert words[0] in report.checks[check]["found"]
    assert words[1] in report.checks[check]["remedy"]


async def test_a_port_that_is_taken_is_doubtful(tmp_path: Path, redis_url: str) -> None:
    """Perhaps the page has it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        report = await listed(tmp_path, {"REDIS_URL": redis_url, "WEB_PORT": str(port)})
    assert report.code == 0
    assert f"cannot have 127.0.0.1:{port} (Address already in use)" in report.checks["page.port"]["found"]
    assert report.checks["page.port"]["remedy"].startswith("Is it running already? Another one: WEB_PORT=")
    assert "page.port" in report.warned


async def test_who_may_come_in_is_said(tmp_path: Path, redis_url: str) -> None:
    """Where all is well; and what is not known is not checked."""
    settings = {"REDIS_URL": redis_url, "WEB_HOST": "0.0.0.0", "WEB_USER": "team", "WEB_PASSWORD": "canary"}
    assert (await listed(tmp_path, settings)).checks["page"]["found"] == "can be opened at 0.0.0.0:0, with a login"
    found = (await listed(tmp_path, {**settings, "WEB_PORT": "many"})).checks["page"]["found"]
    assert found == "not checked, because WEB_PORT is wrong"


async def test_a_team_in_slack_may_do_without_a_page(tmp_path: Path, redis_url: str, unused_tcp_port: int) -> None:
    """An image that listens to the world is no reason to fail there, as long as nobody opens the page."""
    slack = {"SLACK_BOT_TOKEN": "xoxb-canary", "SLACK_API_URL": f"http://127.0.0.1:{unused_tcp_port}/api/"}
    report = await listed(tmp_path, {"REDIS_URL": redis_url, "WEB_HOST": "0.0.0.0", **slack})
    assert "page.login" in report.warned
