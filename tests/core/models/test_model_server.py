"""What is passed on of what a model's server says."""

from __future__ import annotations

import pytest

from core.models.backends.server import Server


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ("`max_new_tokens` must be <= 512", ": `max_new_tokens` must be <= 512"),
        ("bad input: 'password: hunter2'", ": bad input: '…'"),
        ("bad input: 'my login:\nuser: ada\npassword: hunter2\nwhy'", ": bad input: '…'"),
        ("bad input: 'my login:\\nuser: ada\\npassword: hunter2", ": bad input: '…'"),
        ("in message my login:\n  user: ada\n  password", ""),
        ("cannot process ada", ": cannot process …"),
        ("ValueError: hunter2 is not a valid token", ": ValueError: … is not a valid token"),
        ("unknown field be in model", ": unknown field be in model"),
        ("", ""),
    ],
)
def test_what_people_wrote_is_not_repeated(said: str, quoted: str) -> None:
    """However short it is, and on however many lines: what a server says goes into logs."""
    server = Server("http://gpu")
    assert server.quote(said, "System: be kind\nAda: my login:\nuser: ada\npassword: hunter2\nwhy?") == quoted


def test_words_of_any_script_are_not_repeated() -> None:
    """Where words are not apart, no character of them is."""
    server = Server("http://gpu")
    assert server.quote("token 东京 is unknown", "我想去东京。") == ": token … is unknown"
    assert server.quote("token 上海 is unknown", "Tokyo?") == ": token 上海 is unknown"
