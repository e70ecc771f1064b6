"""Rows about runs: opening, following and closing them; how many labels are new."""

from typing import Any

import msgspec
from sqlalchemy import Engine, update
from sqlmodel import Session, col, func, select

from thumbwheel.events import Envelope, decode
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import CommandRow, FeedbackRow, PolicyRow, RewardModelRow, RunRow, VersionRow

LABEL_KINDS = ("thumb", "rating", "flag", "comparison", "correction", "demonstration")
"""The kinds of feedback that a run learns from."""


def open_run(engine: Engine, run: RunRow) -> None:
    """Write the row of a run that is about to start; every pending demand for a run is answered by it."""
    answered = update(CommandRow).where(col(CommandRow.command) == "now", col(CommandRow.handled).is_(False))
    with writing(engine) as session:
        session.add(run)
        session.connection().execute(answered.values(handled=True))


def update_run(engine: Engine, run_id: str, **values: Any) -> RunRow:
    """Change columns of a run; `result` is added to its detail under the stage's name."""
    with writing(engine) as session:
        run = session.exec(select(RunRow).where(RunRow.run_id == run_id)).one()
        for name, value in values.items():
            setattr(run, name, value)
        session.add(run)
        session.flush()
        session.expunge(run)
    return run


def add_result(engine: Engine, run_id: str, stage: str, result: dict[str, Any]) -> None:
    """Keep what a stage said with its run."""
    with writing(engine) as session:
        run = session.exec(select(RunRow).where(RunRow.run_id == run_id)).one()
        detail: dict[str, Any] = msgspec.json.decode(run.detail)
        run.detail = msgspec.json.encode({**detail, stage: result}).decode()
        session.add(run)


def forget_voters(engine: Engine, run_id: str) -> None:
    """Take the users in quarantine, and why they were, from what the stages said."""
    with writing(engine) as session:
        run = session.exec(select(RunRow).where(RunRow.run_id == run_id)).one()
        detail: dict[str, dict[str, Any]] = msgspec.json.decode(run.detail)
        unnamed = {stage: {k: v for k, v in said.items() if k != "voters"} for stage, said in detail.items()}
        run.detail = msgspec.json.encode(unnamed).decode()
        session.add(run)


def unfinished_runs(engine: Engine) -> list[RunRow]:
    """Runs that were being done when the learner last stopped, oldest first."""
    with reading(engine) as session:
        return list(session.exec(select(RunRow).where(RunRow.state == "running").order_by(col(RunRow.started_ms))))


def last_run(engine: Engine) -> RunRow | None:
    """The newest run that is over, whatever became of it."""
    with reading(engine) as session:
        finished = select(RunRow).where(RunRow.state != "running").order_by(col(RunRow.finished_ms).desc())
        return session.exec(finished).first()


def gates_before(engine: Engine, run_id: str) -> int:
    """How many earlier runs came before the gate: which of its prompts are next."""
    with reading(engine) as session:
        mine = select(RunRow.started_ms).where(RunRow.run_id == run_id).scalar_subquery()
        earlier = session.exec(select(RunRow.detail).where(col(RunRow.started_ms) < mine)).all()
    return sum(bool(msgspec.json.decode(detail).get("gate", {}).get("prompts")) for detail in earlier)


def label_counts(engine: Engine) -> tuple[int, int]:
    """(all labels a run could learn from, those stored since the last run froze its snapshot)."""
    with reading(engine) as session:
        usable = select(func.count()).select_from(FeedbackRow).where(*_usable())
        total = session.exec(usable).one()
        learning = col(RunRow.state).not_in(("skipped", "abandoned"))
        frozen = session.exec(select(RunRow.frozen_ms).where(learning).order_by(col(RunRow.frozen_ms).desc())).first()
        new = total if frozen is None else session.exec(usable.where(FeedbackRow.stored_ms > frozen)).one()
    return int(total), int(new)


def _usable() -> list[Any]:
    lost = col(FeedbackRow.turn_status).in_(("lost", "open"))
    return [
        col(FeedbackRow.retracted).is_(False),
        col(FeedbackRow.kind).in_(LABEL_KINDS),
        col(FeedbackRow.turn_status).is_(None) | ~lost,
    ]


def policy_event(engine: Engine, key: str) -> Envelope | None:
    """The latest word of the policy topic under a key (`route`, `published/<version>`, `rejected/<version>`)."""
    with reading(engine) as session:
        body = session.exec(select(PolicyRow.body).where(PolicyRow.key == key)).first()
    return None if body is None else decode(body)


def version_of_run(engine: Engine, run_id: str) -> VersionRow | None:
    """The version that a run has been given, however far its publication came."""
    with reading(engine) as session:
        return session.exec(select(VersionRow).where(VersionRow.run_id == run_id)).first()


def keep_reward_model(engine: Engine, row: RewardModelRow) -> None:
    """Make a reward model the current one; again for the same id is fine."""
    with writing(engine) as session:
        session.merge(row)


def reward_model(engine: Engine, reward_id: str | None = None) -> RewardModelRow | None:
    """A reward model by id, or the newest."""
    with reading(engine) as session:
        return _reward_model(session, reward_id)


def _reward_model(session: Session, reward_id: str | None) -> RewardModelRow | None:
    statement = select(RewardModelRow)
    if reward_id is None:
        return session.exec(statement.order_by(col(RewardModelRow.created_ms).desc())).first()
    return session.exec(statement.where(RewardModelRow.reward_id == reward_id)).first()


def spare_reward_models(engine: Engine, keep: int = 3) -> list[RewardModelRow]:
    """Take out and return the reward models that nobody needs: neither among the newest nor behind a version."""
    with writing(engine) as session:
        needed = session.exec(select(RunRow).where(col(RunRow.state).in_(("running", "published")))).all()
        runs = {run.run_id for run in needed}
        used = {msgspec.json.decode(run.detail).get("ppo", {}).get("reward_model") for run in needed}
        rows = session.exec(select(RewardModelRow).order_by(col(RewardModelRow.created_ms).desc())).all()
        spare = [row for row in rows[keep:] if row.run_id not in runs and row.reward_id not in used]
        for row in spare:
            session.delete(row)
        return spare
