"""What is passed on of what a model's server says."""

from __future__ import annotations

import pytest

from core.backends.server import Server


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ("`max_new_tokens` must be <= 512", ": `max_new_tokens` must be <= 512"),
        ("bad input: 'password: hunter2'", ": bad input: '…'"),
        ("bad input: 'my login:\nuser: ada\npassword: hunter2\nwhy'", ": bad input: '…'"),
        ("bad input: 'my login:\\nuser: ada\\npassword: hunter2", ": bad input: '…'"),
        ("in message my login:\n  user: ada\n  password", ""),
        ("", ""),
    ],
)
def test_what_people_wrote_is_not_repeated(said: str, quoted: str) -> None:
    """However short it is, and on however many lines: what a server says goes into logs."""
    server = Server("http://gpu")
    assert server.quote(said, "System: be kind\nAda: my login:\nuser: ada\npassword: hunter2\nwhy?") == quoted
