"""Lua scripts get what they take by name."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

import pytest
import redis.asyncio

from core.memory.scripts import MemoryScripts
from core.store.scripts import Script
from core.turns.scripts import QueueScripts

ROOT = Path(__file__).parents[3]
FILES = sorted([*(ROOT / "core").rglob("*.lua"), *(ROOT / "bots").rglob("*.lua")])


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, client: redis.asyncio.Redis) -> Script:
    """A script that tells what it got."""
    for file in FILES:
        if file.name == "stored.lua":
            (tmp_path / "core/store").mkdir(parents=True)
            (tmp_path / "core/store/stored.lua").write_bytes(file.read_bytes())
    (tmp_path / "echo.lua").write_text("return cjson.encode({ at, text, count, share, sure, names, more })")
    monkeypatch.setattr("core.store.scripts._ROOT", tmp_path)
    kinds = {"text": str, "count": int, "share": float, "sure": bool, "names": list, "more": dict}
    return Script(client, "echo", keys=["at"], args=kinds)


async def test_arguments_arrive_under_their_names_with_their_types(echo: Script) -> None:
    """Whatever stands in them, in whatever order a caller names them."""
    text = 'ä "quoted" \\ \n \x00 𝄞'
    more = {"inner": [1, text]}
    found = await echo(more=more, names=["b", "a"], sure=False, share=0.5, count=-3, text=text, at="{parley}:x")
    assert found == (
        '["{parley}:x","ä \\"quoted\\" \\\\ \\n \\u0000 𝄞",-3,0.5,false,["b","a"],'
        '{"inner":[1,"ä \\"quoted\\" \\\\ \\n \\u0000 𝄞"]}]'
    )


@pytest.mark.parametrize("given", [{}, {"text": "x"}, {"at": "a", "args": []}])
async def test_a_wrong_call_is_told_what_the_script_takes(echo: Script, given: dict[str, object]) -> None:
    """Before anything is sent."""
    with pytest.raises(TypeError, match=r"takes \['at', 'text', 'count', 'share', 'sure', 'names', 'more'\]"):
        await echo(**given)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_script_counts_positions(file: Path) -> None:
    """But those that take any number of keys."""
    text = file.read_text(encoding="utf-8")
    assert "ARGV" not in text
    assert not re.search(r"KEYS\[\d", text)


def test_every_script_says_what_it_takes(client: redis.asyncio.Redis) -> None:
    """The comment at its beginning names each key and argument."""
    for script in [one for scripts in (QueueScripts(client), MemoryScripts(client)) for one in vars(scripts).values()]:
        lines = ROOT.joinpath(f"{script.name}.lua").read_text(encoding="utf-8").splitlines()
        comment = "\n".join(takewhile(lambda line: line.startswith("--"), lines))
        missing = {name for name in script.takes if not re.search(rf"\b{name}\b", comment)}
        assert not missing, script.name
