"""Hosts and addresses, as people are shown them."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_local(host: str) -> bool:
    """Whether only this machine can reach what listens on ``host``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def server(url: str) -> str:
    """Host and port of an address, without its user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]
