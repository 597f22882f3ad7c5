"""Slack: events in, messages that grow out."""
