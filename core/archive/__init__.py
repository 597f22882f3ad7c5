"""All that is kept, conversation by conversation: listed, exported, forgotten, backed up and restored."""

from core.archive.archive import Archive, RestoreMode
from core.archive.backup import Header, Writer, read_backup, stream_backup, write_backup
from core.archive.person import PersonEraser
from core.archive.record import Record
from core.archive.schema import SCHEMA, prepare, too_new

__all__ = [
    "SCHEMA",
    "Archive",
    "Header",
    "PersonEraser",
    "Record",
    "RestoreMode",
    "Writer",
    "prepare",
    "read_backup",
    "stream_backup",
    "too_new",
    "write_backup",
]
