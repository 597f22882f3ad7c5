"""The command line: all commands of ``parley``."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, NoReturn

import typer

from bots import backup_cli, config_cli, memory_cli, prompt_cli, queue_cli
from bots.streams import give_stdout_up, open_streams, say
from bots.usage import Command, Group
from core.errors import ParleyError, PlatformUnauthorized, SettingsError
from core.settings import Settings, load_settings
from core.version import parley_version

SILENCE = (
    "No platform is set up (SLACK_BOT_TOKEN and SLACK_APP_TOKEN, or DISCORD_TOKEN), "
    "so this was a chat, and its input was empty. "
    "`parley doctor` says more."
)


cli = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Parley: a team's shared assistant in Slack and Discord, on the team's own open model.\n\n"
        "Start with [bold]parley run[/], a page in the browser, or [bold]parley chat[/], in the terminal: they need no "
        "account, no model and no Redis. "
        "[bold]parley doctor[/] says what is set up and what to do next. "
        "Settings come from the environment and .env; .env.example explains them all."
    ),
)
slack = typer.Typer(cls=Group, no_args_is_help=True, help="Set Slack up.")
cli.add_typer(slack, name="slack")
discord = typer.Typer(cls=Group, no_args_is_help=True, help="Set Discord up.")
cli.add_typer(discord, name="discord")
queue = typer.Typer(cls=Group, no_args_is_help=True, help="Look at what waits and what was given up, and act on it.")
dead = typer.Typer(cls=Group, no_args_is_help=True, help="Turns that were given up.")
queue.add_typer(dead, name="dead")
cli.add_typer(queue, name="queue")
queue_cli.attach(queue, dead)
memory = typer.Typer(cls=Group, no_args_is_help=True, help="See what is remembered, export it, and forget it.")
cli.add_typer(memory, name="memory")
memory_cli.attach(memory)
backup_cli.attach(cli)
config_cli.attach(cli)
prompt = typer.Typer(cls=Group, no_args_is_help=True, help="See what a model sees.")
cli.add_typer(prompt, name="prompt")
prompt_cli.attach(prompt)


@cli.callback(invoke_without_command=True)
def _root(show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if show_version:
        typer.echo(f"parley {parley_version()}")
        raise typer.Exit


@cli.command(cls=Command)
def run(
    names: Annotated[list[str] | None, typer.Argument(metavar="[slack|discord|web|all|worker]", hidden=True)] = None,
    worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Answer in this process, or leave that to others.")
    ] = True,
) -> None:
    """Answer where the team is, until Ctrl-C or SIGTERM.

    A platform takes what people say and answers it in the same process. To spread the work, run
    `parley run slack --no-worker` and any number of `parley run worker`, on any machines, with one REDIS_URL: a worker
    answers in all platforms whose tokens are set, and another goes on with its answers if it dies.

    `parley run web` shows a page in the browser; `parley run all` does, beside every platform whose token is set. With
    no platform set up, the page is what `parley run` shows at a terminal; piped input is answered as by `parley chat`.
    """
    from bots import app
    from bots.log import configure_logging

    settings = _settings()
    if not names and not app.configured(settings):
        if not (sys.stdin.isatty() and app.has_page()):
            _chat(settings, silence=SILENCE)
        names = ["web"]
    configure_logging(settings.log_level)
    asyncio.run(app.run(settings, app.duties(settings, names or [], worker=worker)))


@cli.command(cls=Command)
def chat() -> None:
    """Talk to Parley in this terminal, with the same model and memory.

    Piped input is answered line by line, in plain text: `echo hello | parley chat`.
    """
    _chat(_settings())


@cli.command(cls=Command)
def complete(
    prompt: Annotated[str, typer.Argument(help="The text to go on with; - reads it from stdin.", show_default=False)],
    *,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="The most tokens to write.", show_default="MAX_NEW_TOKENS")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="0 is greedy.", show_default="TEMPERATURE")
    ] = None,
    top_p: Annotated[float | None, typer.Option(min=0.01, max=1, help="Only the likeliest tokens.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text; may be given several times.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same text each time, if the server knows how.")] = None,
    model: Annotated[str, typer.Option(help="One of the models in MODELS_FILE.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One object: text, finish reason, tokens.")] = False,
) -> None:
    """Let the model go on with a text, once: no memory, no template.

    `parley complete "Once upon a time" --max-new-tokens 50`, or from a file: `parley complete - < story.txt`.
    """
    from bots.complete import Order, read_prompt
    from bots.complete import complete as finish
    from bots.log import configure_logging

    settings = _settings()
    configure_logging("error")
    order = Order(read_prompt(prompt), max_new_tokens, temperature, top_p, tuple(stop or ()), seed, model)
    asyncio.run(finish(settings, order, as_json=as_json))


@cli.command(cls=Command)
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one object with all checks.")] = False,
) -> None:
    """Check settings, this machine, Redis, models and platforms; say what to do about what is wrong, and what first.

    Exit code 0 if all is well (warnings are), 1 if something is wrong, 2 if the command itself was wrong.
    """
    from bots.doctor import examine
    from bots.log import configure_logging

    configure_logging("error")
    raise typer.Exit(asyncio.run(examine(as_json=as_json)))


@slack.command(cls=Command)
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


@discord.command(cls=Command)
def invite() -> None:
    """Print the address at which the bot is added to a server, with the least permissions that it needs."""
    from bots.discord.setup import invite_url
    from bots.log import configure_logging

    configure_logging("error")
    typer.echo(asyncio.run(invite_url(_settings())))


@discord.command(cls=Command)
def sync(
    force: Annotated[bool, typer.Option("--force", help="Register them even if nothing changed.")] = False,
) -> None:
    """Register the slash commands, if they changed since they were registered last.

    `parley run` does the same when it starts; Discord shows new commands within moments.
    """
    from bots.discord.setup import sync_commands
    from bots.log import configure_logging

    configure_logging("error")
    typer.echo(asyncio.run(sync_commands(_settings(), force=force)))


def _settings() -> Settings:
    """The settings; what .env says by mistake is a line on stderr each, also where that is why a setting is missing."""
    from bots.envfile import look_into_env_file

    for line in look_into_env_file():
        if line.mistake:
            typer.echo(f".env: {line.found}. {line.remedy}", err=True)
    return load_settings()


def _chat(settings: Settings, *, silence: str = "") -> NoReturn:
    from bots.log import configure_logging
    from bots.terminal import chat_in_terminal

    configure_logging("debug" if settings.log_level == "debug" else "error")
    raise typer.Exit(asyncio.run(chat_in_terminal(settings, silence=silence)))


def main() -> None:
    """Run a command; what goes wrong is a line or two, not a traceback.

    Exit code 2 where trying again is useless: a wrong setting, a token that is refused, wrong usage. Supervisors rely
    on it: see deploy/parley.service.
    """
    open_streams()
    try:
        try:
            cli()
        finally:
            sys.stdout.flush()  # now, while it can still be said that this fails
    except ParleyError as error:
        say(str(error), error.remedy)
        sys.exit(2 if isinstance(error, (SettingsError, PlatformUnauthorized)) else 1)
    except OSError as error:
        give_stdout_up()
        if not isinstance(error, BrokenPipeError):  # whoever hung up knows
            where = f"{error.filename}: " if error.filename else ""
            say(f"It cannot go on: {where}{error.strerror or type(error).__name__}")
        sys.exit(1)
