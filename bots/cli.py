"""Placeholder until the command line is written (first commit of the session only)."""


def main() -> None: ...
