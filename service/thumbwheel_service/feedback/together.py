"""Many requests in few statements: what one group of the writer holds costs little more than one request alone did."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from thumbwheel.events import now_ms
from thumbwheel.types import Feedback
from thumbwheel_service import idempotency
from thumbwheel_service.db.group import Failed
from thumbwheel_service.db.keyring import Subject
from thumbwheel_service.db.session import Session
from thumbwheel_service.errors import ServiceError
from thumbwheel_service.feedback import repository
from thumbwheel_service.feedback.repository import New
from thumbwheel_service.feedback.target import Simple, Target, concerned, on_answer
from thumbwheel_service.feedback.units import Stored, put
from thumbwheel_service.idempotency import Answer, Once, apply_once
from thumbwheel_service.redaction.cleared import Cleared
from thumbwheel_service.turns import repository as turns
from thumbwheel_service.turns.repository import Completion

T = TypeVar("T")


class Given(NamedTuple):
    """One piece of feedback as one request gives it."""

    tenant: str
    cleared: Cleared[Feedback]
    once: Once | None


class Done(NamedTuple):
    """What a request is answered, and what it stored: nothing when the answer is an earlier one's."""

    answer: Answer
    stored: Stored | None


def put_all(session: Session, given: Sequence[Given]) -> list[Done | Failed]:
    """The unit of many requests: what is new and simple in a few statements, the rest one by one, each for itself."""
    done: dict[int, Done | Failed] = {}
    done.update(_create_all(session, _new(session, given)))
    for number, one in enumerate(given):
        if number not in done:
            done[number] = _put_alone(session, one)
    return [done[number] for number in range(len(given))]


def _new(session: Session, given: Sequence[Given]) -> dict[int, tuple[Given, Target]]:
    """Those of the requests that create a first revision, about an answer that is there, under keys nobody has used."""
    apart = _apart(session, given)
    if len(apart) < 2:
        return {}
    natural = {(one.tenant, target.natural_key) for one, target in apart.values()}
    onces = {(one.once.tenant, one.once.key) for one, _ in apart.values() if one.once is not None}
    taken = {(t, key) for t, keys in _by_tenant(natural).items() for key in repository.taken(session, t, keys)}
    used = {(t, key) for t, keys in _by_tenant(onces).items() for key in idempotency.known(session, t, keys)}
    return {
        number: (one, target)
        for number, (one, target) in apart.items()
        if (one.tenant, target.natural_key) not in taken
        and (one.once is None or (one.once.tenant, one.once.key) not in used)
    }


def _apart(session: Session, given: Sequence[Given]) -> dict[int, tuple[Given, Target]]:
    """Simple feedback on answers that are there, if neither its natural nor its idempotency key came earlier."""
    simple = {n: f for n, one in enumerate(given) if isinstance(f := one.cleared.value, Simple)}
    there = turns.find_all(session, {feedback.completion_id for feedback in simple.values()}) if simple else {}
    seen: set[tuple[str, str, str]] = set()
    found: dict[int, tuple[Given, Target]] = {}
    for number, one in enumerate(given):
        marks: set[tuple[str, str, str]] = set()
        if one.once is not None:
            marks.add(("once", one.once.tenant, one.once.key))
        target = _target(simple.get(number), one.tenant, there)
        if target is not None:
            marks.add(("natural", one.tenant, target.natural_key))
            if seen.isdisjoint(marks):
                found[number] = (one, target)
        seen |= marks
    return found


def _target(feedback: Simple | None, tenant: str, there: Mapping[str, Completion]) -> Target | None:
    row = None if feedback is None else there.get(feedback.completion_id)
    if feedback is None or row is None or row.tenant != tenant or feedback.choice >= row.n:
        return None
    return on_answer(row, feedback)


def _create_all(session: Session, wanted: Mapping[int, tuple[Given, Target]]) -> dict[int, Done]:
    if not wanted:
        return {}
    people = {n: concerned(target, one.cleared.value.user) for n, (one, target) in wanted.items()}
    named = {(wanted[n][0].tenant, subject) for n, subjects in people.items() for subject in subjects}
    keys: dict[tuple[str, Subject], tuple[str, bytes]] = {}
    for tenant, subjects in _by_tenant(named).items():
        bound = session.keyring.bound_each(session.connection(), tenant, subjects)
        keys.update({(tenant, subject): key for subject, key in bound.items()})
    new = [
        New(one.tenant, one.cleared, target, dict(keys[one.tenant, subject] for subject in people[n]))
        for n, (one, target) in wanted.items()
    ]
    records = repository.create(session, new, moment=now_ms())
    done: dict[int, Done] = {}
    for number, record, made in zip(wanted, records, new, strict=True):
        stored = Stored("created", record, made.keys)
        done[number] = Done(stored.answer, stored)
    idempotency.remember(
        session, [(o, done[n].answer) for n, (one, _) in wanted.items() if (o := one.once) is not None]
    )
    return done


def _put_alone(session: Session, one: Given) -> Done | Failed:
    stored: list[Stored] = []

    def work(session: Session) -> Answer:
        stored[:] = [put(session, one.tenant, one.cleared)]
        return stored[0].answer

    try:
        with session.begin_nested():
            answer = apply_once(session, one.once, work)
    except ServiceError as error:
        return Failed(error)
    return Done(answer, stored[0] if stored else None)


def _by_tenant(named: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = defaultdict(list)
    for tenant, name in named:
        found[tenant].append(name)
    return found
