"""Budgets of platform calls: rate limits, fair among answers, shared by all processes."""

from core.pacing.budget import Budget
from core.pacing.shared import Budgets

__all__ = ["Budget", "Budgets"]
