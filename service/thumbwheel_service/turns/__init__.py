"""Recorded turns: answers brought in from elsewhere, and reading turns back."""
