"""The adapter of Discord."""

from bots.discord.description import PLATFORM

__all__ = ["PLATFORM"]
