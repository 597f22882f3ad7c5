"""A turn's way: accepted into the queue, held by a worker under a lease, answered, committed."""

from core.turns.backlog import measure_backlog
from core.turns.failpoints import crash_point
from core.turns.intake import MIN_REFUSAL_SECONDS, in_time
from core.turns.jobs import StoredJob
from core.turns.operator import CANCELLED, DeadLetter, Lane, Operator, matching
from core.turns.queue import TurnQueue
from core.turns.reply import NOT_ALLOWED_THERE, STOPPED, TAKEN_OVER, WITHDRAWN
from core.turns.timings import MOST_TIMINGS, Timing, Timings
from core.turns.worker import Worker

__all__ = [
    "CANCELLED",
    "MIN_REFUSAL_SECONDS",
    "MOST_TIMINGS",
    "NOT_ALLOWED_THERE",
    "STOPPED",
    "TAKEN_OVER",
    "WITHDRAWN",
    "DeadLetter",
    "Lane",
    "Operator",
    "StoredJob",
    "Timing",
    "Timings",
    "TurnQueue",
    "Worker",
    "crash_point",
    "in_time",
    "matching",
    "measure_backlog",
]
