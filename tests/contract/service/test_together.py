"""Many requests in one group come to the same as one after the other, on both databases."""

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from tests.contract.service.feedback_model import natural
from tests.contract.service.store import end_turn, events, open_turn, write
from tests.contract.service.test_feedback_model import DONE, OPEN, pieces
from tests.keyrings import keyring_beside

from thumbwheel.types import Feedback, FeedbackRecord, Thumb
from thumbwheel_service.db.group import Failed
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.tables import FeedbackRow
from thumbwheel_service.errors import ServiceError
from thumbwheel_service.feedback import repository
from thumbwheel_service.feedback.rows import open_body
from thumbwheel_service.feedback.together import Done, Given, put_all
from thumbwheel_service.idempotency import Once
from thumbwheel_service.redaction.cleared import Cleared

requests = st.lists(
    st.tuples(pieces, st.sampled_from([None, "k1", "k2"]), st.sampled_from(["", "", "", "unknown"])), max_size=14
)


class Side:
    """A tenant of its own, with a turn that has ended and one that is open."""

    def __init__(self, database: Engine) -> None:
        self.database = database
        self.tenant = uuid.uuid4().hex
        write(database, lambda s: [open_turn(s, self.tenant, self.own(c)) for c in (DONE, OPEN)])
        write(database, lambda s: end_turn(s, self.own(DONE)))

    def own(self, identifier: str) -> str:
        return f"{self.tenant}-{identifier}"

    def given(self, feedback: Feedback, key: str | None, strange: str) -> Given:
        names = {n: self.own(v) for n in ("completion_id", "feedback_id") if (v := getattr(feedback, n, None))}
        if strange and "completion_id" in names:
            names["completion_id"] = self.own(strange)
        mine = msgspec.structs.replace(feedback, **names)
        digest = str(natural(feedback)) + repr(feedback) + strange
        return Given(self.tenant, Cleared(mine), None if key is None else Once(self.tenant, key, digest))

    def put(self, given: Sequence[Given]) -> list[Any]:
        """What each is told: status and content, or the error's code."""
        return [self.said(one) for one in write(self.database, lambda s: put_all(s, given))]

    def said(self, done: Done | Failed) -> Any:
        if isinstance(done, Failed):
            assert isinstance(done.error, ServiceError)
            return done.error.code
        record = msgspec.json.decode(done.answer.body, type=FeedbackRecord)
        feedback = self.plain(record.feedback)
        return done.answer.status, done.answer.replayed, record.revision, feedback

    def plain(self, feedback: Feedback) -> Feedback:
        names = {
            n: v.removeprefix(f"{self.tenant}-")
            for n in ("completion_id", "feedback_id")
            if (v := getattr(feedback, n, None))
        }
        return msgspec.structs.replace(feedback, **names)

    def state(self) -> dict[Any, Any]:
        """Rows, histories and events, by natural key."""
        with Session(self.database, keyring_beside(self.database)) as session:
            rows = session.execute(select(FeedbackRow).where(FeedbackRow.tenant == self.tenant)).scalars().all()
            told = {(e.feedback_id, e.revision): e.answer for e in events(session)}
            found = {}
            for row in rows:
                feedback = self.plain(open_body(session, row.feedback_id, row.body))
                history = [(r.revision, self.plain(r.feedback)) for r in repository.revisions(session, row.feedback_id)]
                heard = [told.get((row.feedback_id, n)) for n in range(1, row.revision + 1)]
                found[natural(feedback)] = (row.revision, feedback, row.pending_event, history, heard)
        return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=st.lists(requests, min_size=1, max_size=3))
def test_a_group_equals_one_by_one(database: Engine, groups: list[list[tuple[Feedback, str | None, str]]]) -> None:
    together, apart = Side(database), Side(database)
    for group in groups:
        one = together.put([together.given(*request) for request in group])
        other = [answer for request in group for answer in apart.put([apart.given(*request)])]
        assert one == other
    assert together.state() == apart.state()
    for side in (together, apart):
        write(database, lambda s, side=side: end_turn(s, side.own(OPEN)))
    assert together.state() == apart.state()


def test_another_tenant_s_answer_is_unknown_in_company_too(database: Engine) -> None:
    mine, theirs = Side(database), Side(database)
    foreign = Given(mine.tenant, Cleared(Thumb(completion_id=theirs.own(DONE), value="up")), None)
    good = [mine.given(Thumb(completion_id=DONE, value="up", user=user), None, "") for user in ("ann", "bob")]
    assert [type(done) for done in write(database, lambda s: put_all(s, [good[0], foreign, good[1]]))] == [
        Done,
        Failed,
        Done,
    ]


def test_two_tenants_in_one_group_stay_apart(database: Engine) -> None:
    sides = [Side(database), Side(database)]
    given = [side.given(Thumb(completion_id=DONE, value="up", user=u), "k1", "") for side in sides for u in ("a",)]
    given += [side.given(Thumb(completion_id=DONE, value="down", user="b"), None, "") for side in sides]
    done = write(database, lambda s: put_all(s, given))
    assert [type(one) for one in done] == [Done] * 4
    assert all(len(side.state()) == 2 for side in sides)
