"""A backup's file: what is written is read, and what was damaged is not."""

from __future__ import annotations

import gzip
import json
import os
import stat
from pathlib import Path

import pytest

from core.archive import Part, Record
from core.backup import Header, read_backup, write_backup
from core.errors import BackupError
from core.schema import SCHEMA
from core.types import ConversationKey, Message, Role

MESSAGE = Message(Role.USER, "Ein Geheimnis: 🕛", id="q", at=1.0).to_json()
RECORDS = [
    Record(ConversationKey("slack", "T1", f"C{number}"), {"messages": Part("list", [MESSAGE] * 3, 2e9)})
    for number in range(40)
]
HEADER = Header(SCHEMA, "0.1.0", 1.0)


def written(path: Path, *, packed: bool = True) -> bytes:
    """A backup, as bytes."""
    with write_backup(path, HEADER, packed=packed) as writer:
        for record in RECORDS:
            writer.add(record)
    return path.read_bytes()


@pytest.mark.parametrize("packed", [True, False])
def test_what_is_written_is_read(tmp_path: Path, packed: bool) -> None:
    """Packed, and as lines of JSON; readable for its owner alone."""
    path = tmp_path / "a.backup"
    assert written(path, packed=packed).startswith(b"\x1f\x8b") == packed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with read_backup(path) as backup:
        assert (backup.header, backup.count) == (HEADER, len(RECORDS))
        assert list(backup.records()) == RECORDS
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("packed", [True, False])
def test_no_cut_and_no_flipped_bit_goes_unnoticed(tmp_path: Path, packed: bool) -> None:
    """Anywhere in the file."""
    path = tmp_path / "a.backup"
    whole = written(path, packed=packed)
    for at in range(10, len(whole), 1 + len(whole) // 60):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(BackupError) as caught, read_backup(path) as backup:
                list(backup.records())
            assert caught.value.remedy
            assert "Geheimnis" not in str(caught.value)


def test_a_changed_line_a_missing_line_and_one_too_many_are_noticed(tmp_path: Path) -> None:
    """The checksum is of all lines."""
    path = tmp_path / "a.backup"
    lines = written(path, packed=False).splitlines(keepends=True)
    for changed in (
        [lines[0], lines[1].replace(b"Geheimnis", b"Gestaendn"), *lines[2:]],
        [lines[0], *lines[2:]],
        [*lines, lines[1]],
        lines[:-1],
    ):
        path.write_bytes(gzip.compress(b"".join(changed)))
        with pytest.raises(BackupError, match="cannot be trusted"), read_backup(path):
            pass


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"{}\n", b"[1]\n", gzip.compress(b"hello", mtime=0), b"\x1f\x8b" * 9]
)
def test_what_is_no_backup_is_called_none(tmp_path: Path, content: bytes) -> None:
    """In one line, with what to do."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(BackupError, match=r"notes\.txt") as caught, read_backup(path):
        pass
    assert caught.value.remedy


@pytest.mark.parametrize("field", ["format", "schema"])
def test_a_newer_parleys_backup_asks_for_a_newer_parley(tmp_path: Path, field: str) -> None:
    """Nobody guesses what is in it."""
    path = tmp_path / "a.backup"
    first, _, rest = written(path, packed=False).partition(b"\n")
    path.write_bytes(json.dumps({**json.loads(first), field: 99, "version": "9.0"}).encode() + b"\n" + rest)
    with pytest.raises(BackupError, match=r"newer Parley \(9\.0\)"), read_backup(path):
        pass


def test_a_file_is_there_when_it_is_whole_and_never_in_place_of_another(tmp_path: Path) -> None:
    """A writer that fails leaves nothing; an older backup is only written over if one says so."""
    path = tmp_path / "a.backup"
    with pytest.raises(RuntimeError), write_backup(path, HEADER):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    whole = written(path)
    with pytest.raises(BackupError, match="exists already"), write_backup(path, HEADER):
        pass
    assert path.read_bytes() == whole
    with write_backup(path, HEADER, over=True):
        pass
    with read_backup(path) as backup:
        assert backup.count == 0
    with pytest.raises(BackupError, match="cannot be written"), write_backup(tmp_path / "no" / "a", HEADER):
        pass
    with pytest.raises(BackupError, match="cannot be read"), read_backup(tmp_path / "no"):
        pass


def test_a_link_stays_one_and_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    """A link leads to a mounted disk, perhaps; a device, a pipe or a folder is not replaced, whatever one says."""
    disk = tmp_path / "disk"
    disk.mkdir()
    link, target = tmp_path / "latest.backup", disk / "a.backup"
    link.symlink_to(target)
    for _ in range(2):
        with write_backup(link, HEADER, over=True):
            pass
        assert link.readlink() == target
        with read_backup(target) as backup:
            assert backup.count == 0
    assert list(disk.iterdir()) == [target]
    pipe, circle = tmp_path / "pipe", tmp_path / "circle"
    os.mkfifo(pipe)
    circle.symlink_to(circle)
    reader, writer = os.pipe()
    for other in (disk, pipe, circle, Path(f"/dev/fd/{writer}")):
        before = other.lstat()
        with pytest.raises(BackupError, match="not a file") as caught, write_backup(other, HEADER, over=True):
            pass
        assert caught.value.remedy
        assert other.lstat().st_ino == before.st_ino
    os.close(reader)
    os.close(writer)
