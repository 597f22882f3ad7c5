"""The adapter of the page in the browser."""

__all__ = ["checks", "login", "people", "platform"]
