"""The recent chats that people could be asked about."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Engine
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from thumbwheel import box
from thumbwheel.box import Secrets
from thumbwheel.events import ReviewAsked, TurnCompleted, decode
from thumbwheel.sealed import open_review
from thumbwheel_learner.dataset.examples import Messages
from thumbwheel_learner.dataset.keys import KeySource, ask
from thumbwheel_learner.dataset.opener import Opened, Opener
from thumbwheel_learner.store.questions import claimed_completions, open_questions, times_asked
from thumbwheel_learner.store.session import reading
from thumbwheel_learner.store.tables import QuestionRow, TurnRow


class Chat(NamedTuple):
    """A complete chat with its first answer."""

    tenant: str
    conversation_id: str
    completion_id: str
    messages: Messages
    answer: str
    prompt_token_ids: list[int] | None
    redacted: bool
    keys: Secrets
    """Of everybody whose words are in it."""

    @property
    def conversation(self) -> tuple[str, str]:
        """Of this one and of no other tenant."""
        return self.tenant, self.conversation_id


class Waiting(NamedTuple):
    """An open question that scores may take back, and what it is about."""

    review_id: str
    chat: Chat
    other_answer: str | None


class Recent(NamedTuple):
    """What there is to choose from."""

    chats: list[Chat]
    """Newest first; none that was or is asked about, none in a conversation with an open question."""
    waiting: list[Waiting]
    lost: list[str]
    """Open questions about a chat that is not to be read here any more."""
    pinned: int
    """Open questions that no score takes back: of the random slice, and with a known answer."""
    known: list[Chat]
    """Those with a known answer, the least asked first; none in a conversation with an open question."""


def recent(engine: Engine, keys: KeySource, limit: int, known: Collection[str] = ()) -> Recent:
    """The newest `limit` chats, and the open questions; what cannot be read is left out. Raises `KeysAway`."""
    with reading(engine) as session:
        opener = Opener(session, keys, Counter())
        rows = open_questions(session)
        pinned = {row.review_id for row in rows if row.random or row.completion_id in known}
        waiting, lost = _waiting(session, opener, keys, [row for row in rows if row.review_id not in pinned])
        busy = {(row.tenant, row.conversation_id) for row in rows}
        named = _known(session, opener, known) if known else []
        claimed = claimed_completions(session)
        bodies = session.exec(_newest(limit)).all()
        chats = [chat for chat in map(_chat, opener.opened(bodies)) if chat is not None]
    free = [chat for chat in chats if chat.conversation not in busy and chat.completion_id not in known]
    free = [chat for chat in free if (chat.tenant, chat.completion_id) not in claimed]
    return Recent(free, waiting, lost, len(pinned), [chat for chat in named if chat.conversation not in busy])


def _known(session: Session, opener: Opener, known: Collection[str]) -> list[Chat]:
    bodies = session.exec(select(TurnRow.body).where(col(TurnRow.completion_id).in_(list(known)))).all()
    found = [chat for chat in map(_chat, opener.opened(bodies)) if chat is not None]
    asked = times_asked(session, known)
    return sorted(found, key=lambda chat: (asked[chat.completion_id], chat.completion_id))


def _newest(limit: int) -> SelectOfScalar[bytes]:
    newest = select(TurnRow.body).where(TurnRow.origin == "chat", TurnRow.status == "complete")
    return newest.order_by(col(TurnRow.created_ms).desc(), col(TurnRow.event_id).desc()).limit(limit)


def _waiting(
    session: Session, opener: Opener, keys: KeySource, rows: Sequence[QuestionRow]
) -> tuple[list[Waiting], list[str]]:
    found: list[Waiting] = []
    for row in rows:
        mine = (TurnRow.tenant == row.tenant, TurnRow.completion_id == row.completion_id)
        bodies = session.exec(select(TurnRow.body).where(*mine)).all()
        asked = decode(row.body).event
        for chat in filter(None, map(_chat, opener.opened(bodies))):
            if isinstance(asked, ReviewAsked):
                held = box.key_ids(asked.box) if box.is_box(asked.box) else []
                texts = open_review(row.review_id, asked.box, ask(keys, held))
                found.append(Waiting(row.review_id, chat, texts.other_answer))
    read = {waiting.review_id for waiting in found}
    return found, [row.review_id for row in rows if row.review_id not in read]


def _chat(opened: Opened) -> Chat | None:
    envelope, event, keys = opened
    if not isinstance(event, TurnCompleted) or not event.messages or not event.choices:
        return None
    first = event.choices[0]
    if not first.text.strip():
        return None
    return Chat(
        tenant=envelope.tenant,
        conversation_id=event.conversation_id,
        completion_id=event.completion_id,
        messages=event.messages,
        answer=first.text,
        prompt_token_ids=event.prompt_token_ids,
        redacted=event.redacted is True,
        keys=keys,
    )
