"""The models that answer: the servers they run on, failover, deadlines, and the stream cleaned of control tokens."""

from core.models.generation import Deadlines, generate
from core.models.models import AnswerSettings, Model, Models
from core.models.priority import Preempted

__all__ = ["AnswerSettings", "Deadlines", "Model", "Models", "Preempted", "backends", "generate", "table"]
