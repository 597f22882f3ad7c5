"""The bench runs, and what it measures holds in kind; how fast is for people to judge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import SCENES

HOLDS = {
    "crowd": ("5 at once: answers whole", 5, 5),
    "memory": ("calls to Redis of a turn, to load and to append", 2, 2),
    "hearing": ("HEAR=thread, by events: of these to read what was said", 0, 0),
    "page": ("the page with 3 browsers, one answer growing: updates a second in each", 1, 1000),
}


QUICK = ("crowd", "memory")
"""The scenes of every run; the others are for `make test-all`."""


@pytest.mark.parametrize(
    "scene", [pytest.param(scene, marks=() if scene in QUICK else pytest.mark.slow) for scene in SCENES]
)
def test_a_scene_is_measured(tmp_path: Path, scene: str) -> None:
    """Nothing is refused, every answer is whole, and the figures are written down."""
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--json", str(file), scene]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True, timeout=110)
    figures = {figure["name"]: figure["value"] for figure in json.loads(file.read_text())["figures"]}
    assert all(value == 0 for name, value in figures.items() if "refused" in name or "differ" in name)
    if scene in HOLDS:
        name, least, most = HOLDS[scene]
        assert least <= figures[name] <= most
