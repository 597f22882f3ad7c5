"""``.env.example`` is the reference of all settings, and true."""

from __future__ import annotations

import re
from pathlib import Path

from core.settings import Settings, load_settings

EXAMPLE = Path(".env.example").read_text(encoding="utf-8")


def test_every_setting_is_in_the_example_and_nothing_else() -> None:
    """What is not there cannot be found; what is only there does nothing."""
    names = re.findall(r"^([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    assert sorted(names) == sorted(name.upper() for name in Settings.model_fields)


def test_every_setting_is_explained() -> None:
    """A comment stands above it, or above the group that it stands in."""
    above = ""
    for line in EXAMPLE.splitlines():
        if re.match(r"[A-Z_]+=", line):
            assert above.startswith("#") or re.match(r"[A-Z_]+=", above), line
        above = line


def test_the_values_in_the_example_are_the_defaults(tmp_path: Path) -> None:
    """Copied as it is, it changes nothing."""
    (tmp_path / ".env").write_text(EXAMPLE, encoding="utf-8")
    assert load_settings(_env_file=tmp_path / ".env") == load_settings(_env_file=None)


def test_every_setting_has_an_example_for_its_error() -> None:
    """The line about a wrong value shows a right one."""
    assert all(field.examples for field in Settings.model_fields.values())
