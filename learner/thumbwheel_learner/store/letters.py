"""Dead letters that operators cannot see on the bus yet."""

from collections.abc import Sequence

from sqlmodel import Session, col, select, tuple_, update

from thumbwheel_learner.store.tables import DeadLetterRow

_LETTERS = 100
_BYTES = 4 << 20


def unannounced(session: Session) -> list[DeadLetterRow]:
    """Some of them, the oldest first: at least one if there is any, no more than fit well in one append."""
    open_ones = (
        select(DeadLetterRow.topic, DeadLetterRow.partition, DeadLetterRow.offset)
        .where(col(DeadLetterRow.announced).is_(False))
        .order_by(col(DeadLetterRow.created_ms), col(DeadLetterRow.topic), col(DeadLetterRow.offset))
        .limit(_LETTERS)
    )
    found: list[DeadLetterRow] = []
    size = 0
    for identity in session.exec(open_ones).all():
        if size >= _BYTES:
            break
        found.append(session.get_one(DeadLetterRow, tuple(identity)))
        size += len(found[-1].value)
    return found


def mark_announced(session: Session, letters: Sequence[DeadLetterRow]) -> None:
    """They are on the bus."""
    identity = tuple_(col(DeadLetterRow.topic), col(DeadLetterRow.partition), col(DeadLetterRow.offset))
    these = [(letter.topic, letter.partition, letter.offset) for letter in letters]
    session.connection().execute(update(DeadLetterRow).where(identity.in_(these)).values(announced=True))
