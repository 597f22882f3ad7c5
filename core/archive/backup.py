"""A backup: one file with everything that is remembered, as lines of JSON, usually compressed.

The first line says what it is (``parley``: ``backup``, ``format``, ``schema`` of the store, ``version``, ``at``), each
further one holds a conversation (``core.archive.Record``), and the last one counts them and carries a SHA-256 of all
lines before it. A file is written beside its name and takes it when it is whole. It is read twice, once to check it
and once to use it, so nothing is done on the word of a damaged one.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from core.archive.record import Record
from core.archive.schema import SCHEMA, too_new
from core.errors import BackupError
from core.stored import Unreadable, count_in, read_record, text_in, time_in
from core.types import ConversationKey

FORMAT = 1
"""Of the file; ``SCHEMA`` is that of what is in it."""
MAX_LINE_BYTES = 64 * 1024 * 1024
"""Bytes of a line: many times what a conversation may hold."""
STANDARD_STREAM = Path("-")
"""Standard input or output, in the place of a file."""
DAMAGED_REMEDY = "Take another copy of it, or an older backup."


@dataclass(frozen=True, slots=True)
class Header:
    """What a backup says of itself; ``at`` is in seconds since the epoch."""

    schema: int
    version: str
    at: float


class Writer:
    """Writes one backup, line by line."""

    def __init__(self, file: IO[bytes], header: Header) -> None:
        self.count = 0
        self._file = file
        self._sum = hashlib.sha256()
        about = {"parley": "backup", "format": FORMAT, "schema": header.schema}
        self._line({**about, "version": header.version, "at": header.at})

    def add(self, record: Record) -> None:
        """Write one conversation."""
        self._line(record.to_json())
        self.count += 1

    def end(self) -> None:
        """Write the last line; without it, a file is no backup."""
        self._line({"end": self.count, "sha256": self._sum.hexdigest()})

    def _line(self, value: dict[str, Any]) -> None:
        line = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._sum.update(line)
        self._file.write(line)


@contextmanager
def write_backup(path: Path, header: Header, *, packed: bool = True, over: bool = False) -> Iterator[Writer]:
    """A backup at ``path``, for its owner alone: there, and on the disk, when the block ends well; else nothing is.

    A link stays one: what it leads to is written.

    Raises:
        BackupError: there is a file already and ``over`` is not set, or what is there is no file, or it cannot be
            written.
    """
    target = _target(path)
    if target.exists() and not over:
        raise BackupError(f"'{path}' exists already.", remedy="Choose another name, or add --force to overwrite it.")
    try:
        number, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # readable for us alone
        try:
            with os.fdopen(number, "wb") as file:
                if packed:
                    with stream_backup(file, header) as writer:
                        yield writer
                else:
                    yield from _writing(file, header)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        finally:
            with suppress(FileNotFoundError):
                Path(name).unlink()
    except OSError as error:
        raise BackupError(
            f"'{path}' cannot be written: {error.strerror or type(error).__name__}",
            remedy="Choose a folder that this user may write to and that has room.",
        ) from error


@contextmanager
def stream_backup(file: IO[bytes], header: Header) -> Iterator[Writer]:
    """A compressed backup into an open file or pipe. If the block fails, its last line is missing: it is no backup."""
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6) as pack:
        yield from _writing(pack, header)
    file.flush()


def _target(path: Path) -> Path:
    """Where a file of that name is. Raises BackupError if there is something else, which must not be replaced."""
    target = Path(os.path.realpath(path))
    # Of a pipe, the resolved name is none that exists; a link that leads to itself is still one.
    if target.is_symlink() or (path.exists() and not path.is_file()):
        raise BackupError(f"'{path}' exists and is not a file.", remedy="Choose another name.")
    return target


def _writing(file: Any, header: Header) -> Iterator[Writer]:
    writer = Writer(file, header)
    yield writer
    writer.end()


class Backup:
    """A backup that was read to its end once, and is whole: ``count`` conversations, as ``header`` says."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        """Check an open file. Raises BackupError if it is no backup, is damaged, or is a newer Parley's."""
        self._file = file
        self._name = name
        self._number = 0
        self.header = Header(0, "", 0.0)
        self.count = 0
        for _ in self.records():
            self.count += 1

    def records(self) -> Iterator[Record]:
        """The conversations, in today's form. Raises BackupError, with the line and the reason, unless all is sound."""
        self._number = 0
        try:
            yield from self._read()
        except (OSError, EOFError, zlib.error) as error:  # gzip raises all of these, for its own checksum too
            raise self._damaged("it ends too early" if isinstance(error, EOFError) else "it is damaged") from error
        except Unreadable as error:
            raise self._damaged(str(error)) from error

    def _read(self) -> Iterator[Record]:
        self._file.seek(0)
        packed = self._file.read(2) == b"\x1f\x8b"
        self._file.seek(0)
        lines: Any = gzip.GzipFile(fileobj=self._file) if packed else self._file
        sum_, seen = hashlib.sha256(), set[ConversationKey]()
        first = self._line(lines)
        self.header = self._about(first)
        sum_.update(first)
        while True:
            line = self._line(lines)
            if not line:
                raise self._damaged("it ends too early")
            record = read_record(line)
            if "end" in record:
                break
            sum_.update(line)
            made = Record.from_json(record)
            made.check()
            if made.key in seen:
                raise Unreadable("its conversation is in the file already")
            seen.add(made.key)
            yield made
        if record != {"end": len(seen), "sha256": sum_.hexdigest()}:
            raise self._damaged("its checksum does not fit: it was changed since it was written")
        if self._line(lines):
            raise self._damaged("there is more after its end")

    def _line(self, lines: Any) -> bytes:
        self._number += 1
        line: bytes = lines.readline(MAX_LINE_BYTES + 1)
        if len(line) > MAX_LINE_BYTES:
            raise self._damaged("it is too long")
        return line

    def _about(self, line: bytes) -> Header:
        try:
            about = read_record(line)
            if about.get("parley") != "backup":
                raise Unreadable("it is no backup")
        except Unreadable:
            raise BackupError(
                f"{self._name} is not a backup of Parley's.",
                remedy="`parley backup` and `parley memory export` write them.",
            ) from None
        version = re.sub(r"[^\w.+-]", "", text_in(about, "version"), flags=re.ASCII)[:40]
        if count_in(about, "format") > FORMAT or count_in(about, "schema") > SCHEMA:
            newer = too_new(count_in(about, "schema"))
            raise BackupError(f"{self._name} was written by a newer Parley ({version}).", remedy=newer.remedy)
        return Header(count_in(about, "schema"), version, time_in(about, "at"))

    def _damaged(self, why: str) -> BackupError:
        where = f"line {self._number}: {why}"
        return BackupError(f"{self._name} cannot be trusted, {where}. Nothing was restored.", remedy=DAMAGED_REMEDY)


@contextmanager
def read_backup(path: Path) -> Iterator[Backup]:
    """The backup at ``path``, checked; ``-`` is standard input. Raises BackupError if it cannot be read or trusted."""
    if path == STANDARD_STREAM:
        with tempfile.TemporaryFile() as copy:  # it is read twice
            shutil.copyfileobj(sys.stdin.buffer, copy)
            yield Backup(copy, "The backup on standard input")
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise BackupError(
            f"'{path}' cannot be read: {error.strerror}", remedy="Name a file that this user may read."
        ) from error
    with file:
        yield Backup(file, f"'{path}'")
