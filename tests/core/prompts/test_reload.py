"""Personas and templates are files of the operator's own, and serve as they are now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.memory.choices import Choices
from core.prompts.personas import Personas
from core.prompts.reload import AutoReloaded
from core.types import ConversationSettings


def write(path: Path, text: str, second: int) -> None:
    """Edit a file, a second later each time: clocks of file systems may be coarse."""
    path.write_text(text, encoding="utf-8")
    os.utime(path, (second, second))


def test_an_edited_persona_serves_from_the_next_question_on(tmp_path: Path) -> None:
    """So does a new one; one that is taken away is as if nobody had chosen it. No restart."""
    write(tmp_path / "pirate.md", "Arr.", 1)
    personas = Personas(tmp_path, {}, check_seconds=0)
    choices = Choices(personas=personas, persona="pirate")
    chosen = choices.change(ConversationSettings(), "persona", "pirate")
    assert choices.resolved(chosen).system == "Arr."
    write(tmp_path / "pirate.md", "Arr, arr.", 2)
    write(tmp_path / "poet.md", "O!", 2)
    assert choices.resolved(chosen).system == "Arr, arr."
    assert choices.resolved(ConversationSettings()).system == "Arr, arr."
    assert choices.resolved(ConversationSettings(system="Me.")).system == "Me."
    assert list(personas) == ["pirate", "poet"]
    (tmp_path / "pirate.md").unlink()
    assert choices.resolved(chosen).system is None


def test_a_mistake_in_an_edit_leaves_what_there_was(tmp_path: Path) -> None:
    """Until it is mended. At the start it is an error."""
    write(tmp_path / "team.md", "We are {{team}}.", 1)
    with pytest.raises(SettingsError, match="team"):
        Personas(tmp_path, {}, check_seconds=0)
    personas = Personas(tmp_path, {"team": "Blue"}, check_seconds=0)
    write(tmp_path / "team.md", "We are {{colour}}.", 2)
    assert personas["team"] == "We are Blue."
    write(tmp_path / "team.md", "{{team}}!", 3)
    assert personas["team"] == "Blue!"
    assert not Personas(None, {})


def test_files_are_looked_at_once_in_a_while(tmp_path: Path) -> None:
    """And are made into something only when they changed."""
    made: list[int] = []
    path = tmp_path / "template.jinja"
    write(path, "one", 1)

    def make() -> str:
        made.append(1)
        return path.read_text(encoding="utf-8")

    seldom, often = AutoReloaded(path, make, check_seconds=60), AutoReloaded(path, make, check_seconds=0)
    assert [often.get() for _ in range(3)] == ["one"] * 3
    assert len(made) == 2
    write(path, "two", 2)
    assert (seldom.get(), often.get()) == ("one", "two")
