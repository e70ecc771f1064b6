"""A support desk's conversations, written by a generator: what the demo policy is trained on."""

from thumbwheel_demo.corpus.catalog import BY_NAME, INTENTS
from thumbwheel_demo.corpus.model import ChatMessage, Intent, Scenario, Split, Stage
from thumbwheel_demo.corpus.prompts import Dialogue, dialogues, prompts
from thumbwheel_demo.corpus.ways import Way, WayWeights, answer

__all__ = [
    "BY_NAME",
    "INTENTS",
    "ChatMessage",
    "Dialogue",
    "Intent",
    "Scenario",
    "Split",
    "Stage",
    "Way",
    "WayWeights",
    "answer",
    "dialogues",
    "prompts",
]
