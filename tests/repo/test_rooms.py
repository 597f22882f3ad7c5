"""The rooms: who may import whom, and through which door. A room is a folder of ``core`` or ``bots``."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def name_of(path: Path) -> str:
    """A file's name as a module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(path): path for top in ("core", "bots") for path in sorted((ROOT / top).rglob("*.py"))}


def room_of(module: str) -> str:
    """The folder that a module stands in; a module beside the folders is a room of its own."""
    return ".".join(module.split(".")[:2])


ROOMS = sorted({room_of(module) for module in FILES if FILES[module].parts[-3] in ("core", "bots")})


@cache
def imported(module: str) -> frozenset[tuple[str, str]]:
    """What a file imports of ours, wherever it does: the module, and the name taken from it ("" for the module)."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                found.add((inside, "") if inside in FILES else (node.module, alias.name))
    return frozenset((other, name) for other, name in found if other.split(".")[0] in ("core", "bots"))


def across() -> Iterator[tuple[str, str, str]]:
    """Every import from one room into another: who imports, what, and which name of it."""
    for module in FILES:
        for other, name in sorted(imported(module)):
            if room_of(other) != room_of(module):
                yield module, other, name


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle in a graph, [] if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("top", ["core", "bots"])
def test_no_file_imports_itself_by_way_of_others(top: str) -> None:
    """Also not inside a function."""
    graph = {module: {other for other, _ in imported(module)} - {module} for module in FILES if module.startswith(top)}
    assert circle(graph) == []


@pytest.mark.parametrize("top", ["core", "bots"])
def test_no_room_imports_itself_by_way_of_others(top: str) -> None:
    """So rooms have an order: a message goes down through them."""
    graph: dict[str, set[str]] = {}
    for module, other, _ in across():
        if module.startswith(top) and other != top:
            graph.setdefault(room_of(module), set()).add(room_of(other))
    assert circle(graph) == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_entered_by_its_door(room: str) -> None:
    """``__all__`` of its ``__init__`` names what others need, and no more: names, or modules that cost to load."""
    public = set(getattr(importlib.import_module(room), "__all__", ()))
    used: set[str] = set()
    for module, other, name in across():
        if room_of(other) == room and (other, name) != (room, ""):
            taken = name if other == room else other.removeprefix(f"{room}.").split(".")[0]
            assert taken in public, f"{module} imports {name or other} past the door of {room}"
            used.add(taken)
    whole = any((other, name) == (room, "") for _, other, name in across())  # as `from core import metrics`
    assert whole or public == used, f"nobody else needs {sorted(public - used)} of {room}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_happens_in_it(room: str) -> None:
    """In the first line of its ``__init__``."""
    doc = ast.get_docstring(ast.parse(FILES[room].read_text(encoding="utf-8")))
    assert doc
    assert doc.splitlines()[0].endswith(".")
