"""The command line: ``parley``, the same as ``python -m bots``."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from core.errors import ParleyError, SettingsError
from core.settings import load_settings

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Parley: a team's shared assistant in Slack, on the team's own open model.\n\n"
        "Start with [bold]parley chat[/]: it needs no account, no model and no Redis. "
        "[bold]parley doctor[/] says what is set up and what to do next. "
        "Settings come from the environment and .env; .env.example explains them all."
    ),
)
slack = typer.Typer(no_args_is_help=True, help="Set Slack up.")
cli.add_typer(slack, name="slack")


@cli.callback(invoke_without_command=True)
def _root(show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if show_version:
        typer.echo(f"parley {version('parley')}")
        raise typer.Exit


@cli.command()
def run(
    platforms: Annotated[
        list[str] | None,
        typer.Argument(metavar="[slack]", help="Which platforms. Without: those whose tokens are set."),
    ] = None,
) -> None:
    """Answer where the team is, until Ctrl-C or SIGTERM.

    Serves every platform whose tokens are set. With none, it is a chat in this terminal (`parley chat`).
    """
    from bots import app
    from bots.log import configure_logging

    settings = load_settings()
    chosen = platforms or app.configured(settings)
    if not chosen:
        chat()
        return
    configure_logging(settings.log_level)
    asyncio.run(app.run(settings, chosen))


@cli.command()
def chat() -> None:
    """Talk to Parley in this terminal, with the same model and memory.

    Piped input is answered line by line, in plain text: `echo hello | parley chat`.
    """
    from bots.log import configure_logging
    from bots.terminal import chat_in_terminal

    settings = load_settings()
    configure_logging("debug" if settings.log_level == "debug" else "error")
    raise typer.Exit(asyncio.run(chat_in_terminal(settings)))


@cli.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one object with all checks.")] = False,
) -> None:
    """Check settings, Redis, the model and Slack; say what to do about what is wrong.

    Exit code 0 if all is well, 1 if something is wrong.
    """
    from bots.doctor import examine
    from bots.log import configure_logging

    configure_logging("error")
    raise typer.Exit(asyncio.run(examine(as_json=as_json)))


@slack.command()
def manifest(
    minimal: Annotated[
        bool, typer.Option("--minimal", help="Without the history scopes; what is lost is listed on stderr.")
    ] = False,
) -> None:
    """Print the app manifest, to be pasted at api.slack.com/apps > Create New App > From a manifest."""
    from bots.slack.manifest import LOST, manifest_json

    typer.echo(manifest_json(minimal=minimal))
    if minimal:
        typer.echo("\n".join(LOST), err=True)


def main() -> None:
    """Run a command; what goes wrong is a line or two, not a traceback. Exit code 2 for a wrong setting or usage."""
    try:
        cli()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is what the person at the terminal reads
        sys.exit(2)
    except ParleyError as error:
        print(error, error.remedy, sep="\n", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
