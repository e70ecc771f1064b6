"""What a labeler has said: kept apart from feedback, so that nothing takes it for a person's word."""

import hashlib
from collections.abc import Collection
from typing import NamedTuple

import msgspec
from sqlalchemy import Engine
from sqlmodel import col, func, select

from thumbwheel import box
from thumbwheel.box import Secrets
from thumbwheel.events import now_ms
from thumbwheel_learner.store.erasures import leave_out
from thumbwheel_learner.store.insert import insert_if_new
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import VerdictRow


class Kept(NamedTuple):
    """What training needs of a verdict."""

    probability: float
    """That the question's first answer is better."""
    consistent: bool
    """Whether the same answer won in both orders."""


def principle_id(principle: str) -> str:
    """Short name of a principle's text."""
    return hashlib.sha256(principle.encode()).hexdigest()[:16]


def verdicts_of(engine: Engine, labeler: str, principle: str) -> dict[str, Kept]:
    """Everything this labeler has said by this principle, by digest of the question."""
    columns = (VerdictRow.digest, VerdictRow.probability, VerdictRow.consistent)
    mine = (VerdictRow.labeler == labeler, VerdictRow.principle == principle_id(principle))
    with reading(engine) as session:
        return {digest: Kept(p, consistent) for digest, p, consistent in session.exec(select(*columns).where(*mine))}


def asked_by(engine: Engine, run_id: str) -> int:
    """How many verdicts a run has asked for so far."""
    with reading(engine) as session:
        asked = select(func.count()).select_from(VerdictRow).where(col(VerdictRow.run_id) == run_id)
        return int(session.exec(asked).one())


def keep_verdict(
    engine: Engine,
    digest: str,
    verdict: Kept,
    *,
    labeler: str,
    principle: str,
    reason: str,
    event_ids: Collection[str],
    keys: Secrets,
    run_id: str,
) -> bool:
    """Commit one verdict, the reason sealed under `keys`; False where somebody it concerns was erased meanwhile."""
    said = msgspec.json.encode({"reason": reason, "events": sorted(event_ids)})
    row = {
        "digest": digest,
        "labeler": labeler,
        "principle": principle_id(principle),
        "probability": verdict.probability,
        "consistent": verdict.consistent,
        "run_id": run_id,
        "created_ms": now_ms(),
        "key_ids": ",".join(sorted(keys)),
        "body": box.seal(said, keys, f"verdict/{digest}") if keys else said,
    }
    rows = {digest: row}
    with writing(engine) as session:
        leave_out(session, rows)
        insert_if_new(session, VerdictRow, list(rows.values()))
    return bool(rows)
