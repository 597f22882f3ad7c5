"""What ``parley doctor`` looks at on this machine: room on the disk, and files that may be open."""

from __future__ import annotations

import resource
import shutil

from bots.findings import Check, Say
from core.settings import Settings

LITTLE = 1_000_000_000
"""Bytes; while Redis rewrites its append-only file, it needs that space twice."""
NOTHING = 50_000_000
BESIDE = 128
"""Files that a process has open beside one for each answer: Redis, platforms, logs, libraries."""


async def examine_machine(settings: Settings, say: Say) -> None:
    """Look at the disk of DATA_DIR and at the limit of open files."""
    say(_disk(settings))
    say(_files(settings))


def _disk(settings: Settings) -> Check:
    name, tried = "machine.disk", "Disk"
    folder = settings.data_dir.absolute()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    said = (
        f"{free / 1e9:,.1f} GB free for {folder}" if free >= LITTLE / 10 else f"{free / 1e6:,.0f} MB free for {folder}"
    )
    remedy = "Make room there, or set DATA_DIR to a folder on a larger disk."
    if free < NOTHING:
        return Check(name, "error", tried, f"{said}: the disk is full", remedy)
    if free < LITTLE and not settings.redis_url:
        return Check(name, "warning", tried, f"{said}, which may soon be too little", remedy)
    return Check(name, "ok", tried, said)


def _files(settings: Settings) -> Check:
    """A connection to the model for each answer, and what else is open."""
    name, tried = "machine.files", "Open files"
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.worker_slots + BESIDE
    if most == resource.RLIM_INFINITY or most >= needed:
        return Check(name, "ok", tried, "any number" if most == resource.RLIM_INFINITY else f"up to {most:,} at once")
    found = f"up to {most:,} at once, but {settings.worker_slots} answers at once (WORKER_SLOTS) need about {needed:,}"
    remedy = (
        f"Run `ulimit -n {max(4096, needed)}` before the start (LimitNOFILE= in a systemd unit), or set a smaller "
        "WORKER_SLOTS."
    )
    return Check(name, "warning", tried, found, remedy)
