"""Personal data taken out of everything that is about to be stored; pure functions, and one door to them."""

KINDS = ("email", "card", "order", "phone")
"""What is recognised without patterns of one's own, in the order in which they are looked for."""
FIELDS = ("messages", "answers", "feedback", "metadata")
"""Conversations; answers with their tool calls; what people say in feedback; metadata of turns and feedback."""
