"""What log lines may say."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
TAGGED = {"turn", "conv", "job"}
"""Ids: only their tags are logged."""
FIELDS = TAGGED | {
    *("epoch", "tries", "attempt", "worker", "platform", "dur_ms", "first_token_ms"),
    *("error", "remedy", "code", "kind", "why", "retry", "retry_after", "again", "again_in"),
    *("ending", "characters", "prompt_tokens", "tokens", "messages", "part"),
    *("turns", "lanes", "seconds", "version", "model", "workspace", "bot", "folder", "host", "port"),
    "address",
    *("model_api", "server", "stored", "schema", "before", "changed"),
    *("commands", "command", "servers", "how", "mark", "what"),
}
"""All that is logged. A new field is added here by who has made sure that it holds no text, no name and no id."""
SPREAD = {"asdict(todo)", "turn_fields(turn)", "turn_fields(lease.job.turn)"}
TEXTS = {"text", "content", "prompt", "question", "draft", "body", "event", "author", "token", "secret", "args"}


@cache
def calls() -> list[tuple[Path, ast.Call]]:
    """Every call of a logger."""
    return [
        (path, node)
        for folder in ("core", "bots")
        for path in Path(folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"log", "logger"}
    ]


def test_an_event_is_a_fixed_phrase() -> None:
    """What differs stands in fields: nothing is formatted into it."""
    assert len(calls()) > 30
    for path, call in calls():
        assert [type(argument) for argument in call.args] == [ast.Constant], f"{path}:{call.lineno}"


def test_no_log_call_passes_text() -> None:
    """Nothing that anybody wrote, and nothing of which we do not know what it holds."""
    for path, call in calls():
        for keyword in call.keywords:
            where, said = f"{path}:{call.lineno} {keyword.arg}", ast.unparse(keyword.value)
            if keyword.arg is None:
                assert said in SPREAD, where
                continue
            assert keyword.arg in FIELDS, where
            if keyword.arg in TAGGED:
                assert said.startswith("tag("), where
            if not said.startswith("len("):
                nodes = list(ast.walk(keyword.value))
                used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
                used |= {node.id for node in nodes if isinstance(node, ast.Name)}
                assert not used & TEXTS, where


def test_every_field_is_documented() -> None:
    """In docs/logs.md, for who reads logs; nor does it tell of one that is not there."""
    text = Path("docs", "logs.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", "".join(rows))) == FIELDS | {"ts", "level", "event"}


def test_every_warning_and_error_is_documented() -> None:
    """In docs/logs.md, with its level; nor does it list one that is not there."""
    logged: dict[str, set[str]] = {}
    for _, call in calls():
        assert isinstance(call.func, ast.Attribute)
        level = {"exception": "error", "critical": "error"}.get(call.func.attr, call.func.attr)
        if level in ("warning", "error"):
            assert isinstance(call.args[0], ast.Constant)
            logged.setdefault(str(call.args[0].value), set()).add(level)
    text = Path("docs", "logs.md").read_text(encoding="utf-8").partition("## Warnings and errors")[2]
    rows = re.findall(r"^\| ([^|`]+) \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
    documented = {event: set(levels.split(" or ")) for event, levels in rows if event != "Event"}
    assert documented == logged
