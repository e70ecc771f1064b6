"""Feedback: every kind, its natural keys, revisions, history and events."""
