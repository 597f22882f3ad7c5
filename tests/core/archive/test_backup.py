"""A backup's file: what is written is read, and what was damaged is not."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.archive.backup import Header, read_backup, write_backup
from core.archive.record import Part, Record
from core.archive.schema import SCHEMA
from core.errors import BackupError
from core.turns.jobs import StoredJob
from core.types import Author, ConversationKey, Message, Role, Turn

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


CHANNEL = ConversationKey("slack", "T1", "C1")
SAID = Message(Role.USER, "why", id="q1", at=1.0).to_json()
JOB = StoredJob(Turn("t1", CHANNEL, "slack:a", Author("U1", ""), "?", 1.0))
ELSEWHERE = StoredJob(replace(JOB.turn, key=ConversationKey("slack", "T1", "SECRET")))
LATER = 4e9


def part(kind: str, value: Any, until: Any = LATER) -> dict[str, Any]:
    """A part of a conversation as a file has it."""
    return {"kind": kind, "value": value, "until": until}


CRAFTED: dict[str, Any] = {
    "another turn's conversation": {"retries": part("hash", {"t1": ELSEWHERE.to_json()})},
    "another turn": {"retries": part("hash", {"t2": JOB.to_json()})},
    "no turn": {"retries": part("hash", {"t1": "{}"})},
    "another channel's thread": {"forks": part("set", ["slack:T1:SECRET:1.0"])},
    "another channel": {"forks": part("set", ["slack:T1:SECRET"])},
    "no thread": {"forks": part("set", ["x"])},
    "a thread that is written otherwise": {"forks": part("set", ["slack:T1:C1:%31.0"])},
    "an epoch that is none": {"state": part("hash", {"epoch": "1e999"})},
    "an epoch that is too large": {"state": part("hash", {"epoch": "9" * 30})},
    "bytes below nothing": {"state": part("hash", {"bytes": "-5"})},
    "messages in a hash": {"messages": part("hash", {"a": SAID})},
    "a message that is a number": {"messages": part("list", [7])},
    "a role that nobody has": {"messages": part("list", ['{"role":"robot","text":"x"}'])},
    "a time that is none": {"messages": part("list", ['{"role":"user","text":"x","at":1e999}'])},
    "half a letter": {"messages": part("list", [SAID]), "settings": part("string", "\ud800")},
    "settings that are no JSON": {"settings": part("string", "x")},
    "a board that is deep": {"board": part("hash", {"t1": "[" * 100_000})},
    "a part of another key's name": {"x:T1:SECRET:messages": part("list", [SAID])},
    "a part without a name": {"": part("list", [SAID])},
    "a part with a line's end": {"state\n": part("hash", {"a": "b"})},
    "an end that never comes": {"messages": part("list", [SAID], 1e999)},
    "an end that is no number": {"messages": part("list", [SAID], "soon")},
    "an end without a value": {"messages": part("list", [SAID], float("nan"))},
    "a score that is none": {"scores": part("zset", {"a": float("nan")})},
    "a part that is a list": {"messages": [SAID]},
    "parts that are a list": [SAID],
}


def write(path: Path, *records: Any) -> None:
    """A file with all that makes it whole, whatever it holds."""
    header = {"parley": "backup", "format": 1, "schema": 2, "version": "1.0.0", "at": 1.0}
    lines = [(json.dumps(one) + "\n").encode() for one in (header, *records)]
    end = {"end": len(records), "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    path.write_bytes(b"".join(lines) + json.dumps(end).encode() + b"\n")


def sound(name: str = "slack:T1:C1") -> dict[str, Any]:
    """A conversation that could be put back."""
    return {"conversation": name, "parts": {"messages": part("list", [SAID])}}


@pytest.mark.parametrize("crafted", CRAFTED)
def test_a_crafted_file_is_refused_whole_with_the_line_and_the_reason(tmp_path: Path, crafted: str) -> None:
    """However sound the rest of it is."""
    path = tmp_path / "crafted"
    write(path, sound("slack:T1:C0"), {"conversation": "slack:T1:C1", "parts": CRAFTED[crafted]}, sound("slack:T1:C2"))
    with pytest.raises(BackupError, match=r"line 3: .+\. Nothing was restored") as refused, read_backup(path):
        pass
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    "record",
    [
        sound("slack:T1:C0"),
        sound("slack:T1"),
        sound("slack:T1:%43%31"),
        sound("::"),
        sound("slack:T1:C1") | {"conversation": 7},
        {"conversation": "slack:T1:C1"},
        [],
        7,
        None,
        "text",
    ],
)
def test_a_conversation_is_named_as_here_and_once(tmp_path: Path, record: Any) -> None:
    """Two of one name would be one conversation that nobody ever had."""
    path = tmp_path / "crafted"
    write(path, sound("slack:T1:C0"), record)
    with pytest.raises(BackupError, match="line 3: "), read_backup(path):
        pass


def test_no_depth_of_brackets_ends_the_reader(tmp_path: Path) -> None:
    """Nor any other line that is no JSON."""
    for line in (b"[" * 200_000, b'{"a":' * 50_000, b"\xff\xfe", b"nul", b"{}"):
        path = tmp_path / "crafted"
        header = b'{"parley":"backup","format":1,"schema":2,"version":"1","at":1.0}\n'
        path.write_bytes(header + line + b"\n")
        with pytest.raises(BackupError, match="line 2: "), read_backup(path):
            pass


@pytest.mark.parametrize("value", [None, "x", [], {}, float("nan"), 1e999, -1, True])
@pytest.mark.parametrize("field", ["format", "schema", "version", "at", "parley"])
def test_a_header_can_say_anything(tmp_path: Path, field: str, value: Any) -> None:
    """It is a backup of ours, or none."""
    path = tmp_path / "crafted"
    header = {"parley": "backup", "format": 1, "schema": 2, "version": "1.0.0", "at": 1.0} | {field: value}
    lines = (json.dumps(header) + "\n").encode()
    end = {"end": 0, "sha256": hashlib.sha256(lines).hexdigest()}
    path.write_bytes(lines + json.dumps(end).encode() + b"\n")
    with suppress(BackupError), read_backup(path) as backup:
        assert (field, value) == ("version", "x")
        assert backup.header.version == "x"
