"""Adapters that only tests have."""
