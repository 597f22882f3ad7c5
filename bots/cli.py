"""The command line: all commands of ``parley``."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, NoReturn

import typer

from bots.commands import backup as backup_cli
from bots.commands import config as config_cli
from bots.commands import memory as memory_cli
from bots.commands import prompt as prompt_cli
from bots.commands import queue as queue_cli
from bots.console.streams import discard_stdout, open_streams, say
from bots.console.usage import OPERATE, SET_UP, START, Command, Group
from bots.platforms import PLATFORMS, configured, load_all_settings, platform_names, without_account
from core.causes import cause
from core.errors import ParleyError, PlatformUnauthorized, SettingsError
from core.settings import Settings
from core.version import parley_version

NOTHING_TO_DO = (
    "Nothing to do: no platform is set up ({tokens}), and the input was empty. `parley doctor` says what is missing; "
    "`parley run web` shows the page."
)


cli = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
    help="""Parley: a team's shared assistant in Slack, Discord, the browser and the terminal, on the team's own open
    model.

    Try it with [bold]parley run[/] (a page in the browser) or [bold]parley chat[/] (in this terminal). Neither needs
    an account, a model or a Redis. [bold]parley doctor[/] checks the set-up and says what to do next.

    Settings come from the environment and from the file .env; .env.example explains each of them.""",
)
queue = typer.Typer(cls=Group, no_args_is_help=True, help="Inspect and manage the queue of questions.")
dead = typer.Typer(
    cls=Group, no_args_is_help=True, help="Dead letters: questions that were given up after their worker crashed."
)
memory = typer.Typer(cls=Group, no_args_is_help=True, help="Inspect, export and forget what is remembered.")
prompt = typer.Typer(cls=Group, no_args_is_help=True, help="Inspect the prompt sent to the model.")
queue.add_typer(dead, name="dead")
for group, name, panel in (
    (queue, "queue", OPERATE),
    (memory, "memory", OPERATE),
    (prompt, "prompt", OPERATE),
):
    cli.add_typer(group, name=name, rich_help_panel=panel)
queue_cli.attach(queue, dead)
memory_cli.attach(memory)
prompt_cli.attach(prompt)
backup_cli.attach(cli)


def _names() -> list[str]:
    """What can be typed after ``parley run``."""
    from bots.duties import ALL, WORKER

    return [*platform_names(), ALL, WORKER]


def _names_in_words() -> str:
    """The platforms: ``slack, discord or web (the page)``."""
    *others, last = (
        platform.name if platform.name == platform.called.lower() else f"{platform.name} ({platform.called})"
        for platform in PLATFORMS
    )
    return f"{', '.join(others)} or {last}"


@cli.callback(invoke_without_command=True)
def _root(show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if show_version:
        typer.echo(f"parley {parley_version()}")
        raise typer.Exit


@cli.command(cls=Command, rich_help_panel=START)
def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PLATFORM",
            help=f"{_names_in_words()}; all: each of them that is set up; worker: only answer. Without one, Parley "
            "runs on each platform whose token is set, else it shows the page.",
            autocompletion=_names,
        ),
    ] = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Only take messages, and leave the answers to workers.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page in a browser.")] = False,
) -> None:
    """Run Parley: Slack, Discord and the web page, until Ctrl-C.

    Examples:
      parley run                    all that is set up
      parley run web                the page in the browser
      parley run all                Slack, Discord, the page
      parley run slack --no-worker  only take messages
      parley run worker             only answer them

    To spread the work over processes or machines, give all of them the same REDIS_URL and start as many workers as you
    like. If a worker dies, another one continues its answers.

    If nothing is set up and the input is a pipe, each line is answered as by `parley chat`.
    """
    from bots.duties import duties, tokens_in_words
    from bots.log import configure_logging
    from bots.run import run as run_platforms

    settings = _settings()
    if not names and not configured(settings):
        names = [platform.name for platform in without_account() if platform.installed()][:1]
        if not (sys.stdin.isatty() and names):
            _chat(settings, if_empty=NOTHING_TO_DO.format(tokens=tokens_in_words()))
    # `bots.startup` tells a person at a terminal what happens; who wants the log there sets LOG_LEVEL.
    wanted = "log_level" in settings.model_fields_set or not sys.stderr.isatty()
    configure_logging(settings.log_level if wanted else "warning")
    todo = duties(settings, names or [], worker=not no_worker)
    asyncio.run(run_platforms(settings, todo, browser=not no_browser))


@cli.command(cls=Command, rich_help_panel=START)
def chat() -> None:
    """Chat with Parley in this terminal.

    It uses the model and the memory that Slack, Discord and the page use. Piped input is answered line by line, as
    plain text: `echo hello | parley chat`.
    """
    _chat(_settings())


@cli.command(cls=Command, rich_help_panel=START)
def complete(
    prompt: Annotated[
        str, typer.Argument(metavar="TEXT", help="The text to continue; - reads it from standard input.")
    ],
    *,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Write at most this many tokens; without it, MAX_NEW_TOKENS."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(metavar="N", min=0, max=2, help="0 to 2; 0 always picks the likeliest word. Else TEMPERATURE."),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(metavar="N", min=0.01, max=1, help="Choose among the likeliest words only, up to this share."),
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="End before this text. May be given several times.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Get the same text each time, if the server supports it.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="One of the models in MODELS_FILE.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object: text, finish reason, tokens.")] = False,
) -> None:
    """Let the model continue a text, without memory or chat template.

    Examples:
      parley complete "Once upon a time" --max-new-tokens 50
      parley complete - < story.txt

    The model gets the text as it is, and nothing is stored.
    """
    from bots.commands.complete import Order, read_prompt
    from bots.commands.complete import complete as finish
    from bots.log import configure_logging

    settings = _settings()
    configure_logging("error")
    order = Order(read_prompt(prompt), max_new_tokens, temperature, top_p, tuple(stop or ()), seed, model)
    asyncio.run(finish(settings, order, as_json=as_json))


@cli.command(cls=Command, rich_help_panel=SET_UP)
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object with all checks.")] = False,
) -> None:
    """Check settings, Redis, the model and the platforms, and say what to do next.

    Exit code 0 if nothing is wrong (warnings are fine), 1 if something is, 2 if the command was mistyped.
    """
    from bots.doctor.examine import examine
    from bots.log import configure_logging

    configure_logging("error")
    raise typer.Exit(asyncio.run(examine(as_json=as_json)))


def _settings() -> Settings:
    """The settings. Misspelt ones are named on stderr first: they may be why one is missing."""
    from bots.doctor.envfile import ignored

    for line in ignored():
        if line.mistake:
            typer.echo(f"{line.where}: {line.found}. {line.remedy}", err=True)
    return load_all_settings()


def _chat(settings: Settings, *, if_empty: str = "") -> NoReturn:
    from bots.log import configure_logging
    from bots.terminal.talk import chat_in_terminal

    configure_logging("debug" if settings.log_level == "debug" else "error")
    raise typer.Exit(asyncio.run(chat_in_terminal(settings, if_empty=if_empty)))


def _quiet_settings() -> Settings:
    """The settings for a command that logs nothing but errors."""
    from bots.log import configure_logging

    configure_logging("error")
    return _settings()


for _platform in PLATFORMS:
    if _platform.add_commands:
        _group = typer.Typer(cls=Group, no_args_is_help=True, help=f"Set up {_platform.called}.")
        _platform.add_commands(_group, _quiet_settings)
        cli.add_typer(_group, name=_platform.name, rich_help_panel=SET_UP)
config_cli.attach(cli)


def main() -> None:
    """Run a command; what goes wrong is a line or two, not a traceback.

    Exit code 2 where trying again is useless: a wrong setting, a token that is refused, wrong usage. Supervisors rely
    on it: see deploy/parley.service.
    """
    open_streams()
    try:
        try:
            cli(prog_name="parley")
        finally:
            sys.stdout.flush()  # now, while it can still be said that this fails
    except ParleyError as error:
        say(str(error), error.remedy)
        sys.exit(2 if isinstance(error, (SettingsError, PlatformUnauthorized)) else 1)
    except OSError as error:
        discard_stdout()
        if not isinstance(error, BrokenPipeError):  # a reader that left needs no message
            where = f"{error.filename}: " if error.filename else ""
            say(f"Stopped: {where}{error.strerror or cause(error)}.")
        sys.exit(1)
