"""``.env.example`` is the reference of all settings, and true."""

from __future__ import annotations

import re
from pathlib import Path

from bots.platforms import all_settings, load_all_settings

EXAMPLE = Path(".env.example").read_text(encoding="utf-8")
SETTING = re.compile(r"^#?([A-Z_]+)=", re.MULTILINE)
ONLY_COMPOSE = "# ── Only for docker compose"
"""The heading under which those are that Parley does not read."""


def test_every_setting_is_in_the_example_and_nothing_else() -> None:
    """What is not there cannot be found; what is only there does nothing."""
    ours, _, composes = EXAMPLE.partition(ONLY_COMPOSE)
    settings = {name.upper() for name in all_settings().model_fields}
    assert sorted(SETTING.findall(ours)) == sorted(settings)
    compose = Path("docker-compose.yml").read_text(encoding="utf-8")
    assert sorted(SETTING.findall(composes)) == sorted(set(re.findall(r"\$\{(\w+)", compose)) - settings)


def test_every_setting_is_explained() -> None:
    """A comment stands above it, or above the group that it stands in."""
    above = ""
    for line in EXAMPLE.splitlines():
        if SETTING.match(line):
            assert above.startswith("# ") or SETTING.match(above), line
        above = line


def test_a_copy_of_the_example_sets_nothing() -> None:
    """Where it is read before other settings, as by `docker run --env-file` and systemd, it must overrule none."""
    lines = [line for line in EXAMPLE.splitlines() if line]
    assert [line for line in lines if not line.startswith("#")] == []
    assert max(map(len, lines)) <= 120


def test_the_values_in_the_example_are_the_defaults(tmp_path: Path) -> None:
    """With every line switched on, nothing changes."""
    (tmp_path / ".env").write_text(SETTING.sub(r"\1=", EXAMPLE), encoding="utf-8")
    assert load_all_settings(_env_file=tmp_path / ".env") == load_all_settings(_env_file=None)
    compose = Path("docker-compose.yml").read_text(encoding="utf-8")
    for name, default in re.findall(r"\$\{(\w+):-([^}]+)\}", compose):
        assert f"#{name}={default}\n" in EXAMPLE or name == "MODEL_URL"


def test_every_setting_has_an_example_for_its_error() -> None:
    """The line about a wrong value shows a right one."""
    assert all(field.examples for field in all_settings().model_fields.values())
