"""Random sequences of put, change, retract and retry equal a dict, on both databases, whatever the turn is doing."""

import uuid
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from tests.contract.service.feedback_model import Model, natural
from tests.contract.service.store import end_turn, events, open_turn, write
from tests.keyrings import keyring_beside

from thumbwheel.types import (
    Comparison,
    Correction,
    Critique,
    Demonstration,
    Feedback,
    FeedbackRecord,
    Flag,
    Outcome,
    Rating,
    Thumb,
)
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.tables import FeedbackRow
from thumbwheel_service.feedback import repository
from thumbwheel_service.feedback.rows import open_body
from thumbwheel_service.feedback.units import put, retract
from thumbwheel_service.idempotency import Answer, Once, apply_once
from thumbwheel_service.redaction.cleared import Cleared

DONE, OPEN = "done", "open"
common: dict[str, Any] = {
    "completion_id": st.sampled_from([DONE, OPEN]),
    "choice": st.integers(0, 1),
    "user": st.sampled_from([None, "ann"]),
}
own_ids = st.sampled_from(["one", "two"])
pieces: st.SearchStrategy[Feedback] = st.one_of(
    st.builds(Thumb, value=st.sampled_from(["up", "down"]), comment=st.sampled_from([None, "why"]), **common),
    st.builds(Rating, value=st.integers(1, 5), **common),
    st.builds(Flag, value=st.sampled_from(["unsafe", "biased"]), **common),
    st.builds(Correction, text=st.sampled_from(["x", "y"]), **common),
    st.builds(
        Comparison,
        value=st.sampled_from(["this", "other", "tie"]),
        other_text=st.sampled_from(["T", "U"]),
        **common,
    ),
    st.builds(Outcome, name=st.sampled_from(["solved", "cost"]), value=st.sampled_from([True, 1.5]), **common),
    st.builds(
        Critique,
        text=st.sampled_from(["x", "y"]),
        feedback_id=st.sampled_from(["c-one", "c-two"]),
        completion_id=st.just(OPEN),
    ),
    st.builds(
        Demonstration,
        messages=st.just([{"role": "user", "content": "hi"}]),
        text=st.sampled_from(["x", "y"]),
        feedback_id=st.sampled_from(["d-one", "d-two"]),
    ),
)
moves = st.sampled_from(["put"] * 6 + ["retract", "retract", "retry", "end"])
steps = st.lists(st.tuples(moves, pieces, st.integers(0, 20)), min_size=12, max_size=40)


class Run:
    """One sequence of steps against the database and the model; ids are made unique, so that runs share a database."""

    def __init__(self, database: Engine) -> None:
        self.database = database
        self.tenant = uuid.uuid4().hex
        self.model = Model()
        self.ended = False
        self.answers: list[tuple[Once, Feedback, Answer]] = []
        write(database, lambda s: [open_turn(s, self.tenant, self.own(c)) for c in (DONE, OPEN)])
        write(database, lambda s: end_turn(s, self.own(DONE)))

    def own(self, identifier: str) -> str:
        return f"{self.tenant}-{identifier}"

    def put(self, feedback: Feedback) -> None:
        names = {n: self.own(v) for n in ("completion_id", "feedback_id") if (v := getattr(feedback, n, None))}
        feedback = msgspec.structs.replace(feedback, **names)
        once = Once(self.tenant, uuid.uuid4().hex, "digest")
        answer = write(self.database, lambda s: apply_once(s, once, lambda s: self.work(s, feedback)))
        self.answers.append((once, feedback, answer))
        status, piece = self.model.put(feedback)
        record = msgspec.json.decode(answer.body, type=FeedbackRecord)
        piece.feedback_id = piece.feedback_id or record.feedback_id
        assert answer.status == status
        assert (record.feedback_id, record.revision, record.retracted, record.feedback) == (
            piece.feedback_id,
            piece.revision,
            piece.retracted,
            piece.feedback,
        )

    def work(self, session: Session, feedback: Feedback) -> Answer:
        stored = put(session, self.tenant, Cleared(feedback))
        return Answer(stored.status, msgspec.json.encode(stored.record), stored.keys)

    def retry(self, index: int) -> None:
        if not self.answers:
            return
        once, feedback, first = self.answers[index % len(self.answers)]
        again = write(self.database, lambda s: apply_once(s, once, lambda s: self.work(s, feedback)))
        assert (again.status, again.body, again.replayed) == (first.status, first.body, True)

    def retract(self, index: int) -> None:
        if not self.model.pieces:
            return
        key = list(self.model.pieces)[index % len(self.model.pieces)]
        piece = self.model.retract(key)
        record = write(self.database, lambda s: retract(s, self.tenant, piece.feedback_id)).record
        assert (record.revision, record.retracted) == (piece.revision, True)

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            write(self.database, lambda s: end_turn(s, self.own(OPEN)))

    def check(self) -> None:
        with Session(self.database, keyring_beside(self.database)) as session:
            rows = session.execute(select(FeedbackRow).where(FeedbackRow.tenant == self.tenant)).scalars().all()
            said = {r.feedback_id: open_body(session, r.feedback_id, r.body) for r in rows}
            history = {r.feedback_id: repository.revisions(session, r.feedback_id) for r in rows}
            mine = {piece.feedback_id for piece in self.model.pieces.values()}
            heard = [event for event in events(session) if event.feedback_id in mine]
        found = {natural(f := said[r.feedback_id]): (r.revision, r.retracted, f) for r in rows}
        assert found == {k: (p.revision, p.retracted, p.feedback) for k, p in self.model.pieces.items()}
        for row in rows:
            assert [r.revision for r in history[row.feedback_id]] == list(range(1, row.revision + 1))
            told = [event for event in heard if event.feedback_id == row.feedback_id]
            assert [e.revision for e in told] == sorted({e.revision for e in told})
            waits = row.completion_id == self.own(OPEN) and not self.ended
            assert row.pending_event is waits
            if waits:
                assert told == []
            else:
                last = told[-1]
                assert (last.revision, last.retracted) == (row.revision, row.retracted)
                assert last.feedback == said[row.feedback_id]
                if row.completion_id:
                    assert last.answer == "AB"[getattr(last.feedback, "choice", 0)]
                    assert last.turn_status == "complete"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_feedback_equals_a_dict(database: Engine, steps: list[tuple[str, Feedback, int]]) -> None:
    run = Run(database)
    for move, feedback, index in steps:
        match move:
            case "put":
                run.put(feedback)
            case "retract":
                run.retract(index)
            case "retry":
                run.retry(index)
            case _:
                run.end()
    run.check()
    run.end()
    run.check()
