"""Budgets of platform calls: rate limits, fair among answers, shared by all processes."""

from core.pacing.budget import CallBudget
from core.pacing.shared import CallBudgets

__all__ = ["CallBudget", "CallBudgets"]
