"""All metrics of Parley: what ``/metrics`` shows where HTTP_PORT is set.

No label names a person, a channel or a conversation: their number has no bound, and anybody in the network can read the
page. Values that live in Redis (``parley_queue_…``, ``parley_dead_letters``) are the same from every process: aggregate
them with ``max``, not ``sum``. A new metric is exported by ``core/metrics/__init__.py`` as well.
"""

from __future__ import annotations

from core.metrics.meters import Counter, Gauge, Histogram, Meter

# What comes in.
EVENTS = Counter(
    "parley_events_total",
    "Messages to Parley, by outcome: accepted, duplicate, denied, busy or quota.",
    "platform",
    "type",
    "outcome",
)
INGRESS_ACK = Histogram(
    "parley_ingress_ack_seconds", "From an event's arrival to its acknowledgement, once it is stored.", "platform"
)
SOCKET_CONNECTED = Gauge("parley_socket_connected", "1 while a platform is connected, else 0.", "platform")

# What waits.
QUEUE_DEPTH = Gauge("parley_queue_depth", "Turns that wait for an answer, in all lanes (shared).")
QUEUE_OLDEST_AGE = Gauge(
    "parley_queue_oldest_age_seconds", "Age of the oldest message that no worker has taken yet (shared)."
)
DEAD_LETTERS = Gauge("parley_dead_letters", "Dead letters that nobody has requeued or dropped yet (shared).")

# What is answered.
LEASES_HELD = Gauge("parley_leases_held", "Turns that this process is answering.")
TURN_DURATION = Histogram(
    "parley_turn_duration_seconds",
    "From taking a turn to its last edit and commit, by how it ended: complete, length, stopped, interrupted, failed, "
    "gone (nowhere to reply), dead (given up), left (to another worker).",
    "outcome",
)
TIME_TO_FIRST_EDIT = Histogram(
    "parley_time_to_first_edit_seconds", "From taking a turn to the first words that people see."
)
TAKEOVERS = Counter("parley_takeovers_total", "Turns that this process took over from a worker that died.")
FENCED = Counter("parley_fenced_total", "Turns that this process dropped because another worker holds them.")

FEEDBACK = Counter("parley_feedback_total", "Thumbs up and down on answers.", "platform", "mark")

# What it takes.
EDITS = Counter(
    "parley_edits_total",
    "Posts and edits, by result: ok, rate_limited, gone, unavailable, unauthorized, refused, or fenced (not made, "
    "because the lease was over).",
    "platform",
    "result",
)
RATE_LIMITED = Counter("parley_rate_limited_total", "Calls that a platform refused because there were too many.")
MODEL_ERRORS = Counter(
    "parley_model_errors_total", "Answers that broke off because of the model, by the error's name.", "kind"
)
TOKENS = Counter(
    "parley_tokens_total", "Tokens, as the model's server counted them: of prompts and of completions.", "kind"
)
REDIS_DISRUPTIONS = Counter(
    "parley_redis_disruptions_total", "Operations that failed because Redis was away or refused."
)

LOOP_FAULTS = Counter(
    "parley_loop_faults_total",
    "Faults that a worker's loops survived, by loop: claims, beats, signals or housekeeping.",
    "kind",
)

# The process.
LOOP_LAG = Gauge("parley_event_loop_lag_seconds", "How much later than asked the event loop woke up, at the last look.")

METERS: tuple[Meter, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Meter))
"""All of the above, in the order of this page."""
