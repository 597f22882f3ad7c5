"""Slows down guessing of the page's password."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

FREE_TRIES = 10
"""Wrong passwords from one address that cost no time: people mistype, and a proxy has one address for all of them."""
LONGEST_PAUSE_SECONDS = 10.0
LONGEST_QUEUE_SECONDS = 30.0
FORGET_AFTER_SECONDS = 900.0
MOST_ADDRESSES = 10_000


@dataclass(slots=True)
class _Tries:
    """Of one address: ``wrong`` counts its wrong passwords, ``next_at`` is when it may try again."""

    wrong: int = 0
    next_at: float = 0.0
    last_at: float = 0.0


class LoginAttempts:
    """Lets each address try again at once ten times, then after 0.5 s, 1 s, 2 s … up to 10 s for each further try.

    A try that is under way counts as a wrong one, so that many at once are no way around it.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._addresses: OrderedDict[str, _Tries] = OrderedDict()

    async def admit(self, address: str) -> bool:
        """Wait for the next try of an address; False if too many of its tries are waiting already."""
        now = self._clock()
        tries = self._of(address, now)
        pause = self._pause(tries.wrong)
        next_at = max(now, tries.next_at) + pause
        if next_at - now > LONGEST_QUEUE_SECONDS:
            return False
        tries.wrong += 1
        tries.last_at = now
        tries.next_at = next_at if pause else 0.0
        if pause:
            await self._sleep(next_at - now)
        return True

    def failed(self, address: str) -> int:
        """The password was wrong: how many were, from this address, within a quarter of an hour."""
        return self._of(address, self._clock()).wrong

    def succeeded(self, address: str) -> None:
        """The password was right: what was mistyped before is forgotten."""
        self._addresses.pop(address, None)

    @staticmethod
    def _pause(wrong: int) -> float:
        return min(0.5 * 2.0 ** min(wrong - FREE_TRIES, 10), LONGEST_PAUSE_SECONDS) if wrong >= FREE_TRIES else 0.0

    def _of(self, address: str, now: float) -> _Tries:
        tries = self._addresses.get(address)
        if not tries or now - tries.last_at > FORGET_AFTER_SECONDS:
            tries = self._addresses[address] = _Tries(last_at=now)
        self._addresses.move_to_end(address)
        while len(self._addresses) > MOST_ADDRESSES:
            self._addresses.popitem(last=False)
        return tries
