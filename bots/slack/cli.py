"""``parley slack``."""

from __future__ import annotations

from typing import Annotated

import typer

from bots.console.usage import Command


def add_commands(group: typer.Typer) -> None:
    """Register the commands."""
    group.command("manifest", cls=Command)(manifest)


def manifest(
    minimal: Annotated[
        bool, typer.Option("--minimal", help="Ask for fewer permissions; what is lost is listed on standard error.")
    ] = False,
) -> None:
    """Print the app manifest. Paste it at api.slack.com/apps > Create New App > From a manifest."""
    from bots.slack.manifest import LOST, manifest_json

    typer.echo(manifest_json(minimal=minimal))
    if minimal:
        typer.echo("\n".join(LOST), err=True)
