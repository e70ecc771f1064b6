"""Feedback and turns as files to train on: what becomes a row, how it is read from the service, how it is written."""
