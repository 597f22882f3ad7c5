"""The adapter of the page in the browser."""

from bots.web.description import PLATFORM

__all__ = ["PLATFORM"]
