"""`parley chat`: one person at a terminal."""

__all__ = ["chat", "plain", "talk"]
