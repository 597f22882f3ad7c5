"""The command line as a person reads it: help, mistyped commands, completion by a shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperArgument, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from bots.cli import cli, main
from bots.console.usage import PANELS, as_paragraphs
from tests.journeys.process import environment
from tests.needs import BASH

NOISE = re.compile(r"<\w+|\bBOOLEAN\b|\bINTEGER\b|\blist\[|\bPath\b|None|x[<>]=|\{\w+\}|…")
"""Python types, ranges, and words that a column cut off."""


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The whole tree: every group and command, with the words that lead to it."""
    here = group or get_command(cli)
    yield path, here
    if isinstance(here, TyperGroup):
        for name, command in here.commands.items():
            yield from commands(command, (*path, name))


ALL = dict(commands())


def shown(path: tuple[str, ...], columns: int) -> str:
    """The help of a command, as wide as a terminal of so many columns."""
    return CliRunner().invoke(cli, [*path, "--help"], env={"COLUMNS": str(columns), "TERM": "dumb"}).output


def params(path: tuple[str, ...]) -> list[Any]:
    """The arguments and options of a command."""
    found: list[Any] = ALL[path].get_params(typer.Context(ALL[path]))
    return found


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_explains_every_word_and_breaks_none(path: tuple[str, ...]) -> None:
    """At any width: no Python types, nothing cut off, and each sentence is there, word for word."""
    wanted = [as_paragraphs(ALL[path].help) or "", *(parameter.help for parameter in params(path))]
    names = [name for parameter in params(path) for name in parameter.opts if name.startswith("-")]
    for columns in (60, 80, 100, 200):
        said = shown(path, columns)
        assert all(len(line) <= min(columns, 100) for line in said.splitlines()), said
        assert not NOISE.search(said), said
        words = set(re.sub(r"[│╭╮╰╯─]", " ", said).split())
        for sentence in wanted:
            assert set(re.sub(r"\[/?\w*\]", "", sentence).split()) <= words, sentence
        assert set(names) <= words


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_argument_and_option_is_explained(path: tuple[str, ...]) -> None:
    """In a sentence that ends; what takes a value has a placeholder for it."""
    assert ALL[path].help.strip().endswith(".")
    for parameter in params(path):
        assert parameter.help, parameter.name
        assert parameter.help.endswith("."), parameter.help
        takes_value = isinstance(parameter, TyperArgument) or not parameter.is_flag
        assert bool(parameter.metavar) is takes_value, parameter.name


def test_commands_stand_in_panels_with_run_first() -> None:
    """What one needs first is seen first."""
    said = shown((), 100)
    order = [said.index(f"─ {panel} ─") for panel in PANELS]
    assert order == sorted(order)
    assert "─ Commands ─" not in said
    assert said.index("│ run ") < min(said.index(f"│ {name} ") for name in ALL[()].commands if name != "run")


def test_run_shows_examples_and_they_run() -> None:
    """Each is a line of its own, and nothing in it is mistyped."""
    examples = re.findall(r"^ *parley run(.*?)(?:  .*)?$", shown(("run",), 80), re.MULTILINE)
    assert len(examples) == 5
    for example in examples:
        ALL[("run",)].make_context("run", example.split())


TYPOS = {
    "rnu": "No such command 'rnu'. Did you mean 'run'?",
    "doctr": "No such command 'doctr'. Did you mean 'doctor'?",
    "queue lss": "No such command 'lss'. Did you mean 'ls'?",
    "queue dead relpay": "No such command 'relpay'. Did you mean 'replay'?",
    "slack manfest": "No such command 'manfest'. Did you mean 'manifest'?",
    "xyzzy": "No such command 'xyzzy'.",
    "run slak": "No platform 'slak'. Did you mean slack?",
    "run Discord": "No platform 'Discord'. Did you mean discord?",
    "run wroker": "No platform 'wroker'. Did you mean worker?",
    "run teams": "No platform 'teams'. Choose from: slack, discord, web, all, worker.",
    "run --no-wrker": "No such option '--no-wrker'. Did you mean '--no-worker'?",
    "config --chnged": "No such option '--chnged'. Did you mean '--changed'?",
    "--versoin": "No such option '--versoin'. Did you mean '--version'?",
    "chat --xyzzy": "No such option '--xyzzy'.",
    "chat hello": "Unexpected argument 'hello'.",
    "complete": "Missing argument 'TEXT'.",
    "memory show": "Missing argument 'NAME'.",
    "complete x --temperature hot": "--temperature: 'hot' should be a number.",
    "complete x --temperature 9": "--temperature: '9' should be less than or equal to 2.",
    "complete x --max-new-tokens 1.5": "--max-new-tokens: '1.5' should be a whole number.",
    "complete x --seed": "Option '--seed' requires an argument.",
    "complete x --model small": "No model 'small'. MODELS_FILE is not set, so leave --model out.",
    "restore a --merge --replace": "--merge and --replace contradict each other. Choose one.",
    "queue dead drop": "Give a TURN, or --all for all dead letters.",
    "queue dead drop t --all": "Give a TURN or --all, not both.",
    "memory forget": "Say what to forget: one of --conversation, --channel and --user.",
}


@pytest.fixture
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in environment(tmp_path, HOME=str(tmp_path)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_nothing_set")
@pytest.mark.parametrize("typed", TYPOS)
def test_a_mistyped_command_line_is_one_line_with_what_was_probably_meant(
    typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, with quotes around what was typed, where the help is, and exit code 2."""
    monkeypatch.setattr(sys, "argv", ["parley", *typed.split()])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    first, *hint = said.err.splitlines()
    assert (end.value.code, said.out, first) == (2, "", TYPOS[typed])
    assert len(hint) <= 1
    assert all(re.fullmatch(r"`parley .*--help` (explains it|lists the commands)\.", line) for line in hint)


def test_a_group_alone_shows_its_help_and_exits_with_2() -> None:
    """As it always did."""
    result = CliRunner().invoke(cli, ["queue"])
    assert (result.exit_code, "Usage: " in result.output) == (2, True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder in which `parley --install-completion` was run by a bash."""
    BASH.path()
    home = tmp_path_factory.mktemp("home")
    done = in_bash(home, "parley --install-completion; echo")  # bash stays its parent, by which it is recognised
    assert "bash completion installed" in done, done
    return home


def in_bash(home: Path, script: str) -> str:
    """What an interactive bash prints, with the parley of this environment on its path."""
    env = environment(home, HOME=str(home), TERM="dumb", PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    command = ["bash", "--norc", "-c", script]
    ran = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


COMPLETED = {
    "ru": {"run"},
    "run ": {"slack", "discord", "web", "all", "worker"},
    "run slack d": {"discord"},
    "run --no-b": {"--no-browser"},
    "queue dead re": {"replay"},
    "memory ": {"ls", "show", "export", "forget"},
}


def test_bash_completes_commands_platforms_and_options(installed: Path) -> None:
    """What Tab offers, asked of a real bash: its rc file loads what --install-completion wrote."""
    tab = """
        tab() {
            COMP_WORDS=(parley $1); [ "${1% }" = "$1" ] || COMP_WORDS+=("")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
            $(complete -p parley | sed 's/.*-F \\([^ ]*\\).*/\\1/') parley
            echo "$1=${COMPREPLY[*]}"
        }
    """
    script = "\n".join(["source ~/.bashrc", tab, *(f"tab '{line}'" for line in COMPLETED)])
    said = dict(line.split("=", 1) for line in in_bash(installed, script).splitlines())
    assert {line: set(words.split()) for line, words in said.items()} == COMPLETED


@pytest.mark.parametrize(
    "words",
    [
        ["queue", "cancel", ""],
        ["queue", "requeue", ""],
        ["queue", "dead", "drop", ""],
        ["queue", "dead", "replay", ""],
        ["memory", "show", ""],
        ["memory", "ls", "--channel", ""],
        ["memory", "export", "--user=", "file.jsonl"],
        ["memory", "forget", "--conversation=", "--yes"],
        ["prompt", "show", ""],
        ["backup", ""],
        ["restore", "", "--replace"],
    ],
)
def test_an_empty_value_means_neither_everybody_nor_the_only_one(words: list[str]) -> None:
    """A script with a variable that is not set does nothing, and is told why."""
    result = CliRunner().invoke(cli, words)
    assert (result.exit_code, "is empty. Is a variable not set?" in result.output) == (2, True), result.output
