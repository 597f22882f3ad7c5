"""The bench runs, and what it measures holds in kind; how fast is for people to judge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.__main__ import SCENES


def test_every_scene_runs(tmp_path: Path) -> None:
    """Nothing is refused, every answer is whole, and the figures are written down."""
    file = tmp_path / "figures.json"
    scenes = sorted(set(SCENES) - {"page"})
    command = [sys.executable, "-m", "tests.bench", "--quick", "--json", str(file), *scenes]
    root = Path(__file__).parents[2]
    subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=55)
    figures = {figure["name"]: figure["value"] for figure in json.loads(file.read_text())["figures"]}
    assert all(value == 0 for name, value in figures.items() if "refused" in name or "differ" in name)
    assert figures["5 at once: answers whole"] == 5
    assert figures["calls to Redis of a turn, to load and to append"] == 2


def test_the_page_is_measured(tmp_path: Path) -> None:
    """Every browser gets its updates."""
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--json", str(file), "page"]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True, timeout=55)
    figures = {figure["name"]: figure["value"] for figure in json.loads(file.read_text())["figures"]}
    assert figures["the page with 3 browsers, one answer growing: updates a second in each"] > 1
