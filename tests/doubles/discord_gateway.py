"""The gateway: HELLO, IDENTIFY, READY, RESUME, heartbeats, close codes, and intents that are honoured."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.doubles.discord_records import Json, bare
from tests.doubles.discord_world import APP, DM, GROUP, Channel, World

GUILDS, GUILD_MESSAGES, DIRECT_MESSAGES, MESSAGE_CONTENT = 1 << 0, 1 << 9, 1 << 12, 1 << 15
PRIVILEGED = MESSAGE_CONTENT | 1 << 1 | 1 << 8
MESSAGES = {"MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_DELETE", "MESSAGE_DELETE_BULK"}


@dataclass(slots=True, eq=False)
class Session:
    """One identified client; it outlives its socket until it is closed with 1000 or invalidated."""

    id: str
    intents: int
    shard: tuple[int, int]
    socket: web.WebSocketResponse | None = None
    sequence: int = 0
    sent: list[Json] = field(default_factory=list)
    deaf: bool = False
    heartbeats: int = 0


class Gateway:
    """All sockets of the bot."""

    def __init__(self, world: World, token: str) -> None:
        self.world = world
        self.token = token
        self.enabled = 0
        """Privileged intents that are switched on in the developer portal."""
        self.interval = 41.25
        self.url = ""
        self.sessions: dict[str, Session] = {}
        self.identified: list[Json] = []
        """Every IDENTIFY."""
        self.resumed = 0
        self.refuse_handshakes = 0
        """So many connections are answered with HTTP 503."""
        self._sockets: set[web.WebSocketResponse] = set()
        self._sending: set[asyncio.Task[None]] = set()
        world.emit = self.emit

    @property
    def connected(self) -> list[Session]:
        """Sessions with an open socket."""
        return [session for session in self.sessions.values() if session.socket and not session.socket.closed]

    async def accept(self, request: web.Request) -> web.StreamResponse:
        """One connection."""
        if self.refuse_handshakes:
            self.refuse_handshakes -= 1
            return web.Response(status=503, text="no healthy upstream")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": int(self.interval * 1000)}, "s": None, "t": None})
        session: Session | None = None
        try:
            async for frame in socket:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    break
                said = json.loads(frame.data)
                if said["op"] == 1:
                    if session:
                        session.heartbeats += 1
                    await socket.send_json({"op": 11, "d": None, "s": None, "t": None})
                elif said["op"] == 2:
                    session = await self._identify(socket, said["d"])
                elif said["op"] == 6:
                    session = await self._resume(socket, said["d"])
                elif said["op"] == 8 and session:
                    self._tell_members(session, said["d"])
        finally:
            self._sockets.discard(socket)
            if session and session.socket is socket:
                session.socket = None
                if socket.close_code in (1000, 1001):
                    self.sessions.pop(session.id, None)
        return socket

    async def _identify(self, socket: web.WebSocketResponse, said: Json) -> Session | None:
        self.identified.append(said)
        if said["token"] != self.token:
            await socket.close(code=4004, message=b"Authentication failed.")
            return None
        if said["intents"] & PRIVILEGED & ~self.enabled:
            await socket.close(code=4014, message=b"Disallowed intent(s).")
            return None
        shard = said.get("shard") or (0, 1)
        session = Session(secrets.token_hex(8), said["intents"], (shard[0], shard[1]), socket)
        self.sessions[session.id] = session
        guilds = [g for g in self.world.guilds.values() if g.installed and self._shard(g.id, session) == shard[0]]
        ready = {
            "v": 10,
            "user": self.world.user_json(APP),
            "guilds": [{"id": guild.id, "unavailable": True} for guild in guilds],
            "session_id": session.id,
            "resume_gateway_url": self.url,
            "shard": list(shard),
            "application": {"id": APP, "flags": 0},
        }
        self._send(session, "READY", ready)
        for guild in guilds:
            self._send(session, "GUILD_CREATE", self.world.guild_json(guild))
        return session

    async def _resume(self, socket: web.WebSocketResponse, said: Json) -> Session | None:
        session = self.sessions.get(said["session_id"] or "")
        if said["token"] != self.token or not session:
            await socket.send_json({"op": 9, "d": False, "s": None, "t": None})
            return None
        self.resumed += 1
        session.socket, session.deaf = socket, False
        missed = [frame for frame in session.sent if frame["s"] > (said["seq"] or 0)]
        for frame in missed:
            await socket.send_json(frame)
        self._send(session, "RESUMED", {})
        return session

    def _tell_members(self, session: Session, said: Json) -> None:
        """Answer a request for members by their ids, for which no privileged intent is needed."""
        guild, users = str(said["guild_id"]), said.get("user_ids") or []
        members = [self.world.member_json(guild, str(user)) for user in users if str(user) in self.world.users]
        chunk = {"guild_id": guild, "members": members, "chunk_index": 0, "chunk_count": 1, "nonce": said.get("nonce")}
        self._send(session, "GUILD_MEMBERS_CHUNK", chunk)

    # Events.

    def emit(self, event: str, data: Json, channel: Channel | None = None, *, guild: str = "") -> None:
        """Send an event to every session that may have it."""
        guild = guild or (channel.guild if channel else "")
        for session in list(self.sessions.values()):
            if self._shard(guild, session) != session.shard[0]:
                continue
            if event in MESSAGES:
                needed = GUILD_MESSAGES if guild else DIRECT_MESSAGES
                if not session.intents & needed:
                    continue
                if channel and "VIEW_CHANNEL" in channel.denied:
                    continue
            self._send(session, event, self._stripped(session, event, data, channel))

    def _stripped(self, session: Session, event: str, data: Json, channel: Channel | None) -> Json:
        """A message without its content, where the intent is not there and nothing else gives a right to it."""
        if event not in ("MESSAGE_CREATE", "MESSAGE_UPDATE") or session.intents & MESSAGE_CONTENT:
            return data
        if (channel and channel.kind in (DM, GROUP)) or data["author"]["id"] == APP:
            return data
        stripped = data
        if not any(user["id"] == APP for user in data["mentions"]):
            stripped = bare(data)
        replied = stripped.get("referenced_message")
        if replied and replied["author"]["id"] != APP and not any(u["id"] == APP for u in replied["mentions"]):
            stripped = {**stripped, "referenced_message": bare(replied)}
        return stripped

    @staticmethod
    def _shard(guild: str, session: Session) -> int:
        return (int(guild) >> 22) % session.shard[1] if guild else 0

    def _send(self, session: Session, event: str, data: Json) -> None:
        session.sequence += 1
        frame = {"op": 0, "t": event, "s": session.sequence, "d": data}
        session.sent.append(frame)
        del session.sent[:-1000]
        if session.socket and not session.socket.closed and not session.deaf:
            self._later(session.socket.send_json(frame))

    def _later(self, work: Any) -> None:
        async def run() -> None:
            with contextlib.suppress(ConnectionError, RuntimeError):
                await work

        task = asyncio.ensure_future(run())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    # Unkindness.

    async def close_sockets(self, code: int, message: bytes = b"") -> None:
        """Close every socket with a code."""
        for session in self.connected:
            socket, session.socket = session.socket, None  # it can be resumed, however the client says goodbye
            assert socket
            await socket.close(code=code, message=message)

    async def send_op(self, op: int, data: Any = None) -> None:
        """Send an opcode to everybody: 7 asks to reconnect, 9 says that the session is gone."""
        for session in self.connected:
            assert session.socket
            if op == 9 and not data:
                self.sessions.pop(session.id, None)
            await session.socket.send_json({"op": op, "d": data, "s": None, "t": None})

    def forget_sessions(self) -> None:
        """No session can be resumed any more."""
        for session in list(self.sessions.values()):
            if not session.socket:
                del self.sessions[session.id]

    def deafen(self) -> None:
        """Heartbeats are answered, and no events come any more."""
        for session in self.connected:
            session.deaf = True

    async def drop(self) -> None:
        """Cut every connection."""
        for socket in list(self._sockets):
            request = socket._req
            if request and request.transport:
                request.transport.abort()
        await asyncio.sleep(0)

    async def close(self) -> None:
        """The end of the double."""
        for socket in list(self._sockets):
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(1):
                    await socket.close(code=1001)

    def intents(self) -> Sequence[int]:
        """What the clients asked for."""
        return [said["intents"] for said in self.identified]
