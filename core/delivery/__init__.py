"""From tokens to edits: the draft that grows, and the platform's message that follows it."""

from core.delivery.delivery import Delivery, deliver
from core.delivery.draft import Draft
from core.delivery.retries import retry_for, telling_refusals
from core.delivery.surface import FallbackEditor, MessageEditor, Pace, PrivateSurface, Surface

__all__ = [
    "Delivery",
    "Draft",
    "FallbackEditor",
    "MessageEditor",
    "Pace",
    "PrivateSurface",
    "Surface",
    "deliver",
    "retry_for",
    "telling_refusals",
]
