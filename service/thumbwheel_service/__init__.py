"""The service half: chat, feedback, the log and the live policy."""
