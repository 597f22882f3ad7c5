"""Socket Mode: the web sockets of one app, and what is delivered over them.

At least once and in no order, says Slack; the double delivers in order while nothing goes wrong, so that tests are
easy to read, and again whatever was not acknowledged in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from aiohttp import WSMsgType, web

from tests.doubles.slack_records import Envelope, Json

# https://docs.slack.dev/apis/events-api/using-socket-mode: ten connections per app, and each delivery goes to one.
MOST_SOCKETS = 10


@dataclass(slots=True, eq=False)
class Socket:
    """One connection; ``deaf`` is what a half-open one is like."""

    number: int
    ws: web.WebSocketResponse
    transport: asyncio.Transport | None
    deaf: bool = False


class SocketMode:
    """The server's side of Socket Mode, with a record of each delivery."""

    def __init__(self, app_id: str) -> None:
        self.app_id = app_id
        self.envelopes: list[Envelope] = []
        self.ack_deadline = 3.0
        # Slack tries again almost at once, after a minute and after five.
        self.retry_delays: Sequence[float] = (0.0, 60.0, 300.0)
        self.hang_ups = 0
        """So many of the next connections fail after their address was used up."""
        self._sockets: list[Socket] = []
        self._open: set[Socket] = set()
        self._tickets: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connected = asyncio.Event()
        self._by_id: dict[str, Envelope] = {}
        self._numbers = count(1)
        self._turn = 0

    @property
    def sockets(self) -> int:
        """How many are connected now."""
        return len(self._alive())

    def _alive(self) -> list[Socket]:
        return [socket for socket in self._sockets if not socket.ws.closed]

    def ticket(self) -> str:
        """What makes the address of ``apps.connections.open`` good for one connection."""
        ticket = f"ticket-{next(self._numbers)}"
        self._tickets.add(ticket)
        return ticket

    async def accept(self, request: web.Request) -> web.WebSocketResponse:
        """Greet a client, answer its pings and note its acknowledgements, until it goes."""
        if request.query.get("ticket") not in self._tickets:
            raise web.HTTPForbidden(text="no such ticket: an address is good for one connection")
        if self.hang_ups:
            self.hang_ups -= 1
            self._tickets.discard(request.query["ticket"])
            raise web.HTTPServiceUnavailable(text="and the ticket is used up")
        ws = web.WebSocketResponse(autoping=False, timeout=0.5)
        await ws.prepare(request)
        self._tickets.discard(request.query["ticket"])
        socket = Socket(next(self._numbers), ws, request.transport)
        debug = {"host": "applink-double", "build_number": 1, "approximate_connection_time": 18060}
        if self.sockets >= MOST_SOCKETS:
            await ws.send_json({"type": "disconnect", "reason": "too_many_websockets", "debug_info": debug})
            await ws.close()
            return ws
        hello = {"type": "hello", "num_connections": self.sockets + 1, "connection_info": {"app_id": self.app_id}}
        await ws.send_json({**hello, "debug_info": debug})
        self._sockets.append(socket)
        self._open.add(socket)
        self._connected.set()
        try:
            await self._listen(socket)
        finally:
            self._open.discard(socket)
            self._retire(socket)
        return ws

    async def _listen(self, socket: Socket) -> None:
        async for frame in socket.ws:
            if socket.deaf:
                continue
            if frame.type is WSMsgType.PING:
                with contextlib.suppress(ConnectionError):  # it hung up while its ping was on the way
                    await socket.ws.pong(frame.data)
            elif frame.type is WSMsgType.TEXT:
                self._acknowledge(json.loads(frame.data))

    def _acknowledge(self, answer: Json) -> None:
        envelope = self._by_id.get(answer.get("envelope_id", ""))
        if envelope and envelope.acked_at is None:
            envelope.acked_at = time.monotonic()
            envelope.response = answer.get("payload") or {}
            envelope.acked.set()

    def _retire(self, socket: Socket) -> None:
        if socket in self._sockets:
            self._sockets.remove(socket)

    def send(self, kind: str, payload: Json, *, attempt: int = 0, reason: str = "") -> Envelope:
        """Deliver, and again until it is acknowledged or Slack gives up."""
        envelope = self._envelope(kind, payload, attempt, reason)
        self._spawn(self._carry(envelope))
        return envelope

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _envelope(self, kind: str, payload: Json, attempt: int, reason: str) -> Envelope:
        envelope = Envelope(f"envelope-{next(self._numbers)}", kind, payload, attempt, reason)
        self.envelopes.append(envelope)
        self._by_id[envelope.id] = envelope
        return envelope

    async def _carry(self, envelope: Envelope) -> None:
        if envelope.type != "events_api":
            # A press of a button is not tried again: the person sees a warning sign, and may press once more.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.ack_deadline):
                    await self._deliver(envelope)
            return
        for delay in self.retry_delays[envelope.attempt :]:
            if await self._acked(envelope):
                return
            await asyncio.sleep(delay)
            envelope = self._envelope(envelope.type, envelope.payload, envelope.attempt + 1, "timeout")
        await self._acked(envelope)

    async def _acked(self, envelope: Envelope) -> bool:
        await self._deliver(envelope)
        try:
            async with asyncio.timeout(self.ack_deadline):
                await envelope.acked.wait()
        except TimeoutError:
            return False
        return True

    async def _deliver(self, envelope: Envelope) -> None:
        """Write it to one socket, each in its turn. While there is none it is held.

        Slack would count that as a failed attempt; but then a test of a reconnect would have to wait a minute.
        """
        frame: Json = {
            "envelope_id": envelope.id,
            "type": envelope.type,
            "payload": envelope.payload,
            "accepts_response_payload": envelope.type != "events_api",
        }
        if envelope.type == "events_api":
            frame |= {"retry_attempt": envelope.attempt, "retry_reason": envelope.reason}
        while envelope.sent_at is None:
            if not (alive := self._alive()):
                self._connected.clear()
                await self._connected.wait()
                continue
            self._turn += 1
            socket = alive[self._turn % len(alive)]
            try:
                if not socket.deaf:
                    await socket.ws.send_json(frame)
            except ConnectionError:
                self._retire(socket)
            else:
                envelope.sent_at, envelope.socket = time.monotonic(), socket.number

    def drop(self) -> None:
        """Cut every connection without a close frame, as a network does."""
        for socket in list(self._open):
            self._retire(socket)
            if socket.transport:
                socket.transport.abort()

    def deafen(self) -> None:
        """Make every connection half-open: it looks connected, and swallows what is sent either way."""
        for socket in self._sockets:
            socket.deaf = True

    async def refresh(self, reason: str, grace: float) -> None:
        """Ask the clients to connect anew, as Slack does every few hours; close what is left after a moment."""
        for socket in self._alive():
            self._retire(socket)
            await socket.ws.send_json(
                {"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-double"}}
            )
            self._spawn(self._close(socket, grace))

    async def _close(self, socket: Socket, grace: float) -> None:
        await asyncio.sleep(grace)
        await socket.ws.close()

    async def close(self) -> None:
        """End all deliveries and connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.drop()
