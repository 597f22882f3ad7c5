"""Who may import whom, and what is not imported until it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

from bots.platforms import PLATFORMS

LIBRARIES = {"slack_bolt", "slack_sdk", "discord", "gradio"}


@cache
def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_the_core_names_no_platform_and_nothing_of_bots() -> None:
    """It would serve any other."""
    for path in Path("core").rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(path)}
        assert not tops & (LIBRARIES | {"bots"}), path


def test_adapters_do_not_know_each_other() -> None:
    """Each is thin, over the core."""
    adapters = {platform.name for platform in PLATFORMS}
    for adapter in adapters:
        for path in Path("bots", adapter).rglob("*.py"):
            strangers = ("bots.terminal", "bots.platforms", *(f"bots.{other}" for other in adapters - {adapter}))
            assert not any(name.startswith(strangers) for name in imported(path)), path


def test_nothing_outside_an_adapter_names_its_platform() -> None:
    """No code asks whether a platform is this one: what differs stands in the adapter's description."""
    names = {platform.name for platform in PLATFORMS}
    prefixes = tuple(f"{name}_" for name in names)
    for path in (*Path("core").rglob("*.py"), *Path("bots").rglob("*.py")):
        if path.parts[1] in names:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                word = node.value.lower()
                assert word not in names, f"{path}:{node.lineno}"
                assert not (word.startswith(prefixes) and word.replace("_", "").isalnum()), f"{path}:{node.lineno}"


def test_nothing_is_pickled() -> None:
    """What is stored is JSON."""
    for folder in ("core", "bots"):
        for path in Path(folder).rglob("*.py"):
            assert not imported(path) & {"pickle", "marshal", "shelve"}, path


def test_heavy_packages_are_imported_only_where_they_are_used() -> None:
    """Each costs from half a second to ten."""
    light = (
        "bots.cli",
        "bots.run",
        "bots.terminal.talk",
        "bots.web.platform",
        "core.models.backends.tgi",
        "core.turns.worker",
    )
    heavy = ("slack_bolt", "slack_sdk", "text_generation", "discord", "gradio", "huggingface_hub")
    code = f"""
import importlib, sys
for module in {light}:
    importlib.import_module(module)
    for name in {heavy}:
        assert name not in sys.modules, f"{{module}} imports {{name}}"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
