"""The command line: its help, its standard streams, and what commands print."""

__all__ = ["printing", "streams", "usage"]
