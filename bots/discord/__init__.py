"""The adapter of Discord."""

__all__ = ["checks", "platform", "setup"]
