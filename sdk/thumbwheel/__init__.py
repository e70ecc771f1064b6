"""Thumbwheel SDK: chat with, and give feedback to, a service that learns from it."""
