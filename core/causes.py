"""What went wrong in a library, in words for people."""

from __future__ import annotations

import os
import re
import socket
import ssl


def cause(error: BaseException) -> str:
    """What an error of a library or the system means, with nothing in it that the library was given.

    >>> cause(ConnectionRefusedError(111, "Connect call failed"))
    'connection refused'
    """
    inner = getattr(error, "os_error", None) or error  # aiohttp wraps the system's own
    match inner:
        case TimeoutError():
            return "no answer in time"
        case socket.gaierror():
            return "unknown host name"
        case ssl.SSLCertVerificationError():
            return "its certificate is not trusted"
        case ssl.SSLError():
            return "no secure connection"
        case OSError(errno=int(number)):
            return os.strerror(number).lower()
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", type(error).__name__.removesuffix("Error"))
    return " ".join(words).lower() or "an error"
