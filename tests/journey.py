"""The journey of one mention in Slack, watched: which rooms and files of ours it enters, and in which order.

``python -m tests.journey`` (or ``make journey``) runs Parley in this process, with the real Slack adapter, a real Redis
and the doubles of Slack and of a model server. After a first mention, with which a process sets itself up, it watches a
second one, from its envelope at the Slack socket until the turn is committed, and prints the way it took.

What is counted:

- **A room** is a folder of ``core`` or ``bots``. Modules that stand beside the rooms are no rooms.
- **A crossing** is one room calling another. What is called again, such as the next edit or the next question to Redis,
  is the same crossing, so the counts depend neither on the length of an answer nor on how fast it comes.
- **A return** is a crossing into a room that was entered before, whichever way it was entered then.
- **Calls** are pairs of functions, one calling the other from another room: a finer measure, without an aim.
- **A file is entered** when a function in it is called from another room: these are the files that a reader of the
  journey is sent to. Files that only their own room calls are counted apart, as files that run.

What is followed: the first of the two events that Slack sends of a mention; the step of the worker's loop that takes
the turn; and every task that one of these starts, or that such a task starts. Each task is a thread of its own: its
first function counts as called by whatever started the task. Loops that ran before the mention came are not followed.

What is left out: ``core/metrics``, the crash points (``core/turns/failpoints.py``), everything that is not ours, and
the words that all rooms share (``core/types.py``, ``core/model_types.py``, ``core/stored.py``).
"""

from __future__ import annotations

import asyncio
import contextvars
import dis
import inspect
import logging
import sys
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import structlog

from bots.duties import duties
from bots.platforms import load_all_settings
from bots.run import run
from bots.slack.socket import Socket
from core.turns import failpoints
from core.turns.worker import Worker
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.redis_server import running_redis
from tests.waiting import wait_until

MOST_ROOMS, MOST_FILES, MOST_RETURNS = 12, 30, 10
"""The aim: more than that, and the journey is not straight any more."""

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = ("core/types.py", "core/model_types.py", "core/stored.py", "core/turns/failpoints.py")
ANSWER = " ".join(f"word{number}" for number in range(120)) + "."
SHOWN = 4
"""Functions that are named for one crossing."""

ENVELOPE, CLAIM, BEGIN = Socket.handle.__code__, Worker._claim.__code__, Worker._begin.__code__
CRASH_POINT = failpoints.crash_point.__code__


@dataclass(frozen=True, slots=True)
class Function:
    """A function of ours, by its file and its name there."""

    file: str
    name: str

    @property
    def room(self) -> str:
        """The folder it stands in; "" for one beside the rooms."""
        return "/".join(self.file.split("/")[:2]) if self.file.count("/") > 1 else ""

    def __str__(self) -> str:
        owner, _, name = self.name.rpartition(".")
        return f"{Path(self.file).stem}.{owner if name.startswith('__') else name}"


@dataclass(slots=True)
class Thread:
    """One task that is watched: what started it, and whether it belongs to the mention."""

    parent: Thread | None = None
    started_by: Function | None = None
    begins: bool = False

    @property
    def followed(self) -> bool:
        """Whether it is part of the journey, or was started by what is."""
        return self.begins or (self.parent is not None and self.parent.followed)


@dataclass(slots=True)
class Journey:
    """Who called whom, in order; ``files`` are all that ran, ``crossings`` the calls from room to room."""

    files: dict[str, None] = field(default_factory=dict)
    entered: dict[str, None] = field(default_factory=dict)
    crossings: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    calls: set[tuple[Function | None, Function]] = field(default_factory=set)

    def add(self, caller: Function | None, callee: Function) -> None:
        """One call, in the order of calls."""
        self.files[callee.file] = None
        start = caller.room if caller else "Slack"
        if callee.room and start and start != callee.room:
            self.entered[callee.file] = None
            self.calls.add((caller, callee))
            self.crossings.setdefault((start, callee.room), {})[str(callee)] = None

    @property
    def rooms(self) -> list[str]:
        """All rooms, in the order in which they are entered."""
        return list(dict.fromkeys(room for _, room in self.crossings))

    @property
    def returns(self) -> int:
        """Crossings into rooms that were entered before."""
        return len(self.crossings) - len(self.rooms)

    @property
    def is_straight(self) -> bool:
        """Whether it reaches the aim."""
        return len(self.rooms) <= MOST_ROOMS and len(self.entered) <= MOST_FILES and self.returns <= MOST_RETURNS

    def __str__(self) -> str:
        """As a table: every crossing, then the counts."""
        lines, known = [], set[str]()
        for (start, room), called in self.crossings.items():
            sign = "↩" if room in known else "→"
            known.add(room)
            names = [*called][:SHOWN]
            more = f" and {len(called) - SHOWN} more" if len(called) > SHOWN else ""
            lines.append(f"{start:15} {sign} {room:15} {', '.join(names)}{more}")
        return "\n".join(
            [
                *lines,
                "",
                f"{len(self.rooms)} rooms entered (at most {MOST_ROOMS})",
                f"{len(self.entered)} files entered (at most {MOST_FILES}), of {len(self.files)} that run",
                f"{self.returns} returns to a room (↩, at most {MOST_RETURNS})",
                f"{len(self.calls)} calls from one room to another",
            ]
        )


class Watcher:
    """Follows one mention through its tasks; ``calls`` are in the order in which they came."""

    def __init__(self) -> None:
        self.committed = asyncio.Event()
        self._calls: list[tuple[Thread, Function | None, Function]] = []
        self._thread: contextvars.ContextVar[Thread | None] = contextvars.ContextVar("thread", default=None)
        self._came = False

    @property
    def journey(self) -> Journey:
        """What belongs to the mention, of all that was seen."""
        journey = Journey()
        for thread, caller, callee in self._calls:
            if thread.followed:
                journey.add(caller, callee)
        return journey

    def start(self) -> None:
        """Watch from now on, until the turn of the next mention is committed."""
        asyncio.get_running_loop().set_task_factory(self._start_task)  # type: ignore[arg-type]
        sys.setprofile(self._look)

    def _start_task(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **more: Any
    ) -> asyncio.Task[Any]:
        """A task that knows what started it."""
        context = more.pop("context", None) or contextvars.copy_context()
        if parent := self._thread.get():
            context.run(self._thread.set, Thread(parent, nearest(sys._getframe(1))))
        return asyncio.Task(work, loop=loop, context=context, **more)

    def _look(self, frame: FrameType, event: str, argument: object) -> None:
        """One call of any function."""
        del argument
        code = frame.f_code
        if event != "call" or frame.f_lasti > first_step(code):
            return  # else a coroutine that continues
        if code is ENVELOPE and not self._came:
            self._came = True
            self._thread.set(Thread(begins=True))
        elif code is CLAIM:
            self._thread.set(Thread())  # part of the journey once it has taken the turn
        thread = self._thread.get()
        if thread and code is BEGIN:
            thread.begins = True
        if thread and code is CRASH_POINT and "committed" in frame.f_locals.values():
            sys.setprofile(None)
            self.committed.set()
        elif thread and (callee := ours(code)):
            self._calls.append((thread, nearest(frame.f_back) or thread.started_by, callee))


@cache
def ours(code: CodeType) -> Function | None:
    """The function of ours that a code is; None for what is not counted."""
    path = Path(code.co_filename)
    file = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
    counted = file.startswith(("core/", "bots/")) and not file.startswith(("core/metrics/", *LEFT_OUT))
    name = code.co_qualname.replace(".<locals>", "")
    while name.endswith(">"):  # a lambda, or a comprehension, is a part of its function
        name = name.rpartition(".")[0]
    return Function(file, name) if counted and name else None


def nearest(frame: FrameType | None) -> Function | None:
    """The function of ours that a frame stands in, or was called by."""
    while frame:
        if function := ours(frame.f_code):
            return function
        frame = frame.f_back
    return None


@cache
def first_step(code: CodeType) -> int:
    """Up to which instruction a call has only begun; beyond it, a coroutine or generator continues."""
    if not code.co_flags & (inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        return sys.maxsize
    begins = next(step.offset for step in dis.get_instructions(code) if step.opname == "RETURN_GENERATOR")
    return begins + 4  # what follows it: POP_TOP, RESUME


async def watch() -> Journey:
    """Run Parley, and watch its second mention."""
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        async with running_redis(Path(folder, "redis.sock")) as redis, SlackDouble() as slack, TgiDouble() as tgi:
            tgi.answer, tgi.rate = ANSWER, 200
            settings = load_all_settings(
                _env_file=None,
                redis_url=redis.url,
                data_dir=folder,
                slack_api_url=slack.url,
                slack_bot_token=slack.bot_token,
                slack_app_token=slack.app_token,
                model_api="tgi",
                model_url=tgi.url,
            )
            running = asyncio.create_task(run(settings, duties(settings, ["slack"], worker=True)))
            try:
                await wait_until(lambda: slack.sockets or running.done(), description="a socket")
                await slack.mention("C0GENERAL", "hello")
                await wait_until(lambda: any(sign.status == "active" for sign in slack.statuses))
                watcher = Watcher()
                watcher.start()
                await slack.mention("C0GENERAL", "and now?")
                async with asyncio.timeout(30):
                    await watcher.committed.wait()
                return watcher.journey
            finally:
                sys.setprofile(None)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)


def main() -> int:
    """Print the journey. Returns 1 if it is longer than the aim."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    journey = asyncio.run(watch())
    sys.stdout.write(f"{journey}\n")
    return 0 if journey.is_straight else 1


if __name__ == "__main__":
    sys.exit(main())
