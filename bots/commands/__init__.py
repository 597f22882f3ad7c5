"""The commands of `parley` other than run, chat and doctor."""

__all__ = ["backup", "complete", "config", "memory", "prompt", "queue"]
