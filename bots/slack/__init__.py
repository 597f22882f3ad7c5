"""The adapter of Slack."""

from bots.slack.description import PLATFORM

__all__ = ["PLATFORM"]
