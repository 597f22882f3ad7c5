"""``parley backup`` and ``parley restore``: everything that is remembered, to one file and back."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bots.commands.store import AsJson, Store, report, run_with_store
from bots.console.printing import many, progress
from bots.console.usage import OPERATE, Command
from core.errors import BackupError

if TYPE_CHECKING:
    from core.archive import Header, RestoreMode, Writer

REASONS_LEFT_OUT = {"unchanged": "already here", "expired": "too old to be kept", "forgotten": "forgotten since"}
"""Why a conversation was not restored, in words."""

Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]


def attach(cli: typer.Typer) -> None:
    """Register the commands."""
    cli.command("backup", cls=Command, rich_help_panel=OPERATE)(backup)
    cli.command("restore", cls=Command, rich_help_panel=OPERATE)(restore)


def backup(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="The file to write; - is standard output. Without it, parley-DATE-TIME.backup in this folder.",
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Back up everything that is remembered into one file, while Parley runs.

    The file holds what people said: keep it safe. Each conversation is saved as it is at one moment. Questions that are
    still in the queue are not saved.
    """
    if file == Path("-"):
        if as_json or sys.stdout.isatty():
            raise typer.BadParameter(
                "A backup is binary, and takes all of standard output: parley backup - > parley.backup"
            )
        count, waiting = run_with_store(_stream)
        typer.echo(f"The backup holds {many(count, 'conversation')}.{_unanswered(waiting)}", err=True)
        if _others_can_read(sys.stdout.fileno()):
            typer.echo(
                "Other users of this machine can read that file: chmod 600 it, or set umask 077 first.", err=True
            )
        return
    file = file or Path(time.strftime("parley-%Y%m%d-%H%M%S.backup"))
    count, waiting = run_with_store(lambda store: _write(store, file, over=force))
    size = file.stat().st_size
    said = f"{file} holds {many(count, 'conversation')} in {size:,} bytes.{_unanswered(waiting)}"
    report(as_json, said, file=str(file), conversations=count, bytes=size, waiting=waiting)


def restore(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A file that `parley backup` or `parley memory export` wrote; - is standard input.",
        ),
    ],
    merge: Annotated[
        bool, typer.Option("--merge", help="Keep what is remembered here, and add what is missing.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Make the memory the same as the backup: forget all else, and bring back what was forgotten since.",
        ),
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check that the file is complete and undamaged.")] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup.

    Parley may be running. If something is remembered here already, choose --merge or --replace. Conversations that are
    older than RETENTION_DAYS are left out. A damaged file changes nothing.
    """
    from core.archive import read_backup

    if merge and replace:
        raise typer.BadParameter("--merge and --replace contradict each other. Choose one.")
    if file == Path("-") and sys.stdin.isatty():
        raise typer.BadParameter(
            "A backup is binary, and comes from a file or a pipe: parley restore - < parley.backup"
        )
    if check:
        with read_backup(file) as whole:
            made = time.strftime("%Y-%m-%d %H:%M", time.localtime(whole.header.at))
            name = "This backup" if file == Path("-") else file
            said = f"{name} is complete: {many(whole.count, 'conversation')}, saved {made}"
            said += f" by Parley {whole.header.version}."
            report(as_json, said, conversations=whole.count, at=whole.header.at, version=whole.header.version)
        return
    how: RestoreMode | None = "merge" if merge else "replace" if replace else None
    counts = run_with_store(lambda store: restore_file(store, file, how))
    said = f"Restored {many(counts['written'] + counts['merged'], 'conversation')}.{left_out(counts)}"
    said += (
        f" Forgot {many(counts['removed'], 'conversation')} that the file does not have." if counts["removed"] else ""
    )
    report(as_json, said, **counts)


def left_out(counts: Mapping[str, int]) -> str:
    """Say how many conversations of a file were not restored, and why: a sentence for each reason."""
    skipped = ((many(counts[what], "conversation"), words) for what, words in REASONS_LEFT_OUT.items() if counts[what])
    return "".join(f" Left out: {many_of_them}, {words}." for many_of_them, words in skipped)


async def restore_file(store: Store, file: Path, how: RestoreMode | None) -> dict[str, int]:
    """Restore the conversations of a backup. Returns how many were written, merged, left out (by reason) and removed.

    Raises:
        BackupError: the file is damaged, or ``how`` is None and something is remembered already.
    """
    from core.archive import read_backup

    counts = dict.fromkeys(("written", "merged", *REASONS_LEFT_OUT, "removed"), 0)
    with read_backup(file) as whole:
        if how is None and not await store.archive.is_empty():
            raise BackupError(
                "Something is remembered here already, so nothing was restored.",
                remedy="Choose --merge to add what is missing, or --replace to make the memory the same as the backup. "
                "`parley backup` saves what is here first.",
            )
        here = {key: parts for family in await store.archive.families() for key, parts in family.items()}
        with progress("Restoring", whole.count) as step:
            for record in whole.records():
                counts[await store.archive.put(record, how or "replace", also=here.pop(record.key, ()))] += 1
                step()
    if how == "replace":
        async for record in store.archive.records(here):
            if record.stored or record.facts:
                await store.memory.forget(record.key)
                counts["removed"] += 1
    return counts


def _others_can_read(file: int) -> bool:
    """Whether an open file is on disk, and other users can read it."""
    mode = os.fstat(file).st_mode
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def _unanswered(waiting: int) -> str:
    return f" {many(waiting, 'question')} still in the queue: not saved." if waiting else ""


async def _write(store: Store, file: Path, *, over: bool) -> tuple[int, int]:
    """Write a backup to a file. Returns the numbers of conversations in it and of queued turns, which are not."""
    from core.archive import write_backup

    with write_backup(file, _header(), over=over) as writer:
        return await _fill(store, writer)


async def _stream(store: Store) -> tuple[int, int]:
    """Write a backup to standard output. Returns the same as ``_write``."""
    from core.archive import stream_backup

    with stream_backup(sys.stdout.buffer, _header()) as writer:
        return await _fill(store, writer)


def _header() -> Header:
    from core.archive import SCHEMA, Header
    from core.version import parley_version

    return Header(SCHEMA, parley_version(), time.time())


async def _fill(store: Store, writer: Writer) -> tuple[int, int]:
    """Write every conversation. Returns the same as ``_write``."""
    from core.turns import Operator

    families = await store.archive.families()
    with progress("Writing", len(families)) as step:
        for family in families:
            async for record in store.archive.records(family):
                writer.add(record)
            step()
    lanes = await Operator(store.redis).lanes()
    return writer.count, sum(len(lane.jobs) for lane in lanes)
