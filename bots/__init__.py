"""Parley where people are: one adapter for each platform, thin, over the same core."""
