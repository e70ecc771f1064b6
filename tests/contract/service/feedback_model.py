"""A dict that says what feedback should become: the reference that the real thing is compared with."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from thumbwheel.events import TurnCompleted
from thumbwheel.types import Feedback, Flag, Sampling, TurnChoice


def natural(feedback: Feedback) -> tuple[Any, ...]:
    """What a piece of feedback is unique by, read off the design anew."""
    kind = type(feedback).__name__
    given = msgspec.structs.asdict(feedback)
    who = (kind, given.get("completion_id"), given.get("choice"), given["user"])
    match kind:
        case "Flag":
            return (*who, given["value"])
        case "Comparison":
            return (*who, given["other_completion_id"], given["other_choice"], given["other_text"])
        case "Outcome":
            return (*who, given["conversation_id"], given["name"])
        case "Critique" | "Demonstration":
            return ("own", given["feedback_id"])
        case _:
            return who


@dataclass
class Piece:
    feedback: Feedback
    revision: int = 1
    retracted: bool = False
    feedback_id: str = ""


@dataclass
class Model:
    pieces: dict[tuple[Any, ...], Piece] = field(default_factory=dict)

    def put(self, feedback: Feedback) -> tuple[int, Piece]:
        key = natural(feedback)
        piece = self.pieces.get(key)
        if piece is None:
            piece = self.pieces[key] = Piece(feedback)
            return 201, piece
        if piece.retracted or piece.feedback != feedback:
            piece.revision += 1
            piece.feedback, piece.retracted = feedback, False
        return 200, piece

    def retract(self, key: tuple[Any, ...]) -> Piece:
        piece = self.pieces[key]
        if not piece.retracted:
            piece.revision += 1
            piece.retracted = True
        return piece


def turn(completion_id: str, *, conversation: str, texts: tuple[str, ...] = ("A", "B")) -> TurnCompleted:
    return TurnCompleted(
        completion_id=completion_id,
        conversation_id=conversation,
        policy_version="v1",
        status="complete",
        origin="chat",
        created_ms=1000,
        finished_ms=2000,
        messages=[{"role": "user", "content": f"ask {completion_id}"}],
        choices=[TurnChoice(index=i, text=text, token_ids=[1], logprobs=[-0.5]) for i, text in enumerate(texts)],
        model="m",
        sampling=Sampling(
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            min_p=0.0,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            repetition_penalty=1.0,
            max_tokens=8,
        ),
    )


__all__ = ["Flag", "Model", "Piece", "natural", "turn"]
