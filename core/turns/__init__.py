"""A turn's way: accepted into the queue, held by a worker under a lease, answered, committed."""

from core.turns.backlog import measure_backlog
from core.turns.failpoints import reach
from core.turns.jobs import StoredJob, read_refs
from core.turns.operator import CANCELLED, Lane, Letter, Operator, matching
from core.turns.queue import RedisTurnQueue, in_time
from core.turns.reply import AGAIN_THERE, NO_PLACE, STOPPED, WITHDRAWN
from core.turns.timings import MOST, Timing, Timings
from core.turns.worker import Worker

__all__ = [
    "AGAIN_THERE",
    "CANCELLED",
    "MOST",
    "NO_PLACE",
    "STOPPED",
    "WITHDRAWN",
    "Lane",
    "Letter",
    "Operator",
    "RedisTurnQueue",
    "StoredJob",
    "Timing",
    "Timings",
    "Worker",
    "in_time",
    "matching",
    "measure_backlog",
    "reach",
    "read_refs",
]
