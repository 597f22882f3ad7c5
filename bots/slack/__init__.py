"""The adapter of Slack."""

__all__ = ["checks", "manifest", "platform"]
