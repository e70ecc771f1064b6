"""The learner's own database: what it consumed, what it trained, how far it came."""
