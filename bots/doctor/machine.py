"""What ``parley doctor`` checks on this machine: free disk space, and the limit of open files."""

from __future__ import annotations

import resource
import shutil

from bots.findings import Finding, Say
from core.settings import Settings

LOW_DISK_BYTES = 1_000_000_000
"""Less is a warning: while Redis rewrites its append-only file, it needs that space twice."""
FULL_DISK_BYTES = 50_000_000
"""Less is an error."""
OTHER_OPEN_FILES = 128
"""Open files of a process apart from one for each answer: Redis, platforms, logs, libraries."""


async def examine_machine(settings: Settings, say: Say) -> None:
    """Look at the disk of DATA_DIR and at the limit of open files."""
    say(_disk(settings))
    say(_files(settings))


def _disk(settings: Settings) -> Finding:
    name, tried = "machine.disk", "Disk"
    folder = settings.data_dir.absolute()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    said = (
        f"{free / 1e9:,.1f} GB free for {folder}"
        if free >= LOW_DISK_BYTES / 10
        else f"{free / 1e6:,.0f} MB free for {folder}"
    )
    remedy = "Make room there, or set DATA_DIR to a folder on a larger disk."
    if free < FULL_DISK_BYTES:
        return Finding(name, "error", tried, f"{said}: the disk is full", remedy)
    if free < LOW_DISK_BYTES and not settings.redis_url:
        return Finding(name, "warning", tried, f"{said}, which may soon be too little", remedy)
    return Finding(name, "ok", tried, said)


def _files(settings: Settings) -> Finding:
    """A connection to the model for each answer, and what else is open."""
    name, tried = "machine.files", "Open files"
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.worker_slots + OTHER_OPEN_FILES
    if most == resource.RLIM_INFINITY or most >= needed:
        return Finding(name, "ok", tried, "any number" if most == resource.RLIM_INFINITY else f"up to {most:,} at once")
    found = f"up to {most:,} at once, but {settings.worker_slots} answers at once (WORKER_SLOTS) need about {needed:,}"
    remedy = (
        f"Run `ulimit -n {max(4096, needed)}` before the start (LimitNOFILE= in a systemd unit), or set a smaller "
        "WORKER_SLOTS."
    )
    return Finding(name, "warning", tried, found, remedy)
