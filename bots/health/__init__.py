"""How a process is doing: its probes and metrics on HTTP_PORT, and where the fleet is connected."""

__all__ = ["health", "http", "presence"]
