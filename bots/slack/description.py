"""Slack, as the rest of Parley knows it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from bots.platform import WORD_START, OpenPlatform, Platform, Start, Token
from bots.slack.settings import CHANNEL, PERSON, SlackSettings

if TYPE_CHECKING:
    import typer

    from bots.findings import Say


def _open(start: Start[SlackSettings]) -> AbstractAsyncContextManager[OpenPlatform | None]:
    from bots.slack.platform import open_slack

    return open_slack(start.settings, start.stopping, start.budgets, listens=start.listens)


async def _examine(settings: SlackSettings, wrong: Collection[str], say: Say, _alone: bool) -> None:
    from bots.slack.checks import examine_slack

    await examine_slack(settings, wrong, say)


def _add_commands(group: typer.Typer, load: Callable[[], SlackSettings]) -> None:
    from bots.slack.cli import add_commands

    del load  # the manifest is the same for everybody
    add_commands(group)


PLATFORM = Platform(
    name="slack",
    called="Slack",
    settings=SlackSettings,
    open=_open,
    examine=_examine,
    person=PERSON,
    tokens=(Token("slack_bot_token", "xoxb-…"), Token("slack_app_token", "xapp-…", only_to_listen=True)),
    ids={"slack_allow_channels": CHANNEL, "slack_allow_users": PERSON},
    secrets=(
        re.compile(WORD_START + r"((?i:xox[a-z](?:\.xox[a-z])?-|xapp-|xwfp-))[\w-]+"),
        re.compile(r"(hooks\.slack\.com/)[^\s'\"\\]+"),
    ),
    section="Slack, step by step",
    hint="To set it up, paste the output of `parley slack manifest` at api.slack.com/apps > Create New App; README.md "
    "explains each step.",
    add_commands=_add_commands,
)
