"""Help, errors and completion of the command line, in plain words: no Python types, one line for each error."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from bots.console.streams import say
from core.settings import in_plain_words

START, OPERATE, SET_UP = "Start", "Operate", "Set up"
PANELS = (START, OPERATE, SET_UP)
"""The groups of commands in ``parley --help``, in order."""
MAX_COLUMNS = 100
"""Columns of help: longer lines are hard to read."""
_EXTRA = re.compile(r"Got unexpected extra argument\(s\) \((.*)\)", re.DOTALL)


class _Argument(TyperArgument):
    """An argument whose help is its name and a sentence."""

    def display_type_rich(self, ctx: Any) -> str | None:
        return None

    def get_usage_pieces(self, ctx: Any) -> list[str]:
        name = self.display_name_raw if self.required else f"[{self.display_name_raw}]"
        return [f"{name}..." if self.nargs != 1 else name]


class _Option(TyperOption):
    """An option whose help is its name, a placeholder if it takes a value, and a sentence."""

    def display_type_rich(self, ctx: Any) -> str | None:
        return self.metavar

    def _get_number_range_help_str(self) -> str | None:
        return None  # the sentence says it


class _Prose:
    """A command or group whose help is prose, at most ``MAX_COLUMNS`` wide."""

    help: str | None

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.help = as_paragraphs(self.help)

    def get_params(self, ctx: Any) -> Any:
        """The parameters, with our help: typer makes them of its own classes, and has no other way to change it."""
        params = super().get_params(ctx)  # type: ignore[misc]
        for parameter in params:
            parameter.__class__ = _Argument if isinstance(parameter, TyperArgument) else _Option
        return params

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        from typer import rich_utils  # takes a while, so only where help is shown

        rich_utils.MAX_WIDTH = min(MAX_COLUMNS, shutil.get_terminal_size().columns)
        super().format_help(ctx, formatter)  # type: ignore[misc]


class Command(_Prose, TyperCommand):
    """A command. It refuses empty values: in a script, an unset variable would mean "all" or "the only one"."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See typer."""
        for before, value in zip(["", *args], args, strict=False):
            empty = not value or (value.startswith("--") and value.endswith("="))
            if empty and self.name != "complete":  # which explains itself what is missing
                option = value.removesuffix("=") or (before if before.startswith("--") else "")
                raise typer.BadParameter(f"{option or 'A value'} is empty. Is a variable not set?", ctx=ctx)
        return super().parse_args(ctx, args)


class Group(_Prose, TyperGroup):
    """A group of commands; the outermost one shows every error of the command line in one or two lines."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of their panels."""
        return sorted(super().list_commands(ctx), key=self._panel)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; in ``standalone_mode``, end the process with its exit code."""
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.TyperException as error:
            if not standalone_mode:
                raise
            _explain(error)
            code = error.exit_code
        except typer.Abort:
            if not standalone_mode:
                raise
            say("Cancelled.")
            code = 1
        if standalone_mode:
            sys.exit(code or 0)
        return code

    def _panel(self, name: str) -> int:
        panel = getattr(self.commands[name], "rich_help_panel", None)
        return PANELS.index(panel) if panel in PANELS else 0


def as_paragraphs(text: str | None) -> str | None:
    """A docstring as paragraphs of one line each, which wrap wherever they are shown; lists of examples stay as is."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(p if "\n " in p else " ".join(p.split()) for p in paragraphs) or None


def _explain(error: typer.TyperException) -> None:
    """Say what is wrong with a command line, and where its help is."""
    context = getattr(error, "ctx", None)
    if not (said := _sentence(error)):
        return  # the help was asked for by giving no arguments, and has been printed
    lists = "lists the commands" if context and isinstance(context.command, TyperGroup) else "explains it"
    say(said, f"`{context.command_path} --help` {lists}." if context else "")


def _sentence(error: Any) -> str:
    """Say what is wrong with the command line; in typer's own words where they are clear."""
    said: str = error.format_message().strip()
    if hasattr(error, "possibilities"):
        near = f" Did you mean '{error.possibilities[0]}'?" if error.possibilities else ""
        return f"No such option '{error.option_name}'.{near}"
    if extra := _EXTRA.fullmatch(said):
        return f"Unexpected argument '{extra[1]}'."
    if isinstance(cause := error.__cause__, ValidationError):
        [details, *_] = cause.errors(include_url=False)
        name = error.param.get_error_hint().strip("'")
        return f"{name}: '{details['input']}' {in_plain_words(details)}."
    if getattr(error, "param", None) is None and isinstance(error, typer.BadParameter):
        return str(error.message)
    return said
