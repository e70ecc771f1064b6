"""A preference file scored with a trained reward model, without training on it."""

import time
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from thumbwheel.artifact import ArtifactError, base_fingerprint, read_verified, signing_key
from thumbwheel.preferences import Line, open_file, read_pairs
from thumbwheel.template import PLAIN_CHAT_TEMPLATE, has_chat_template
from thumbwheel_learner.dataset.examples import Pair
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.model.base import resolve_base
from thumbwheel_learner.settings import Settings
from thumbwheel_learner.store.runs import reward_model
from thumbwheel_learner.store.session import connect
from thumbwheel_learner.store.tables import RewardModelRow


class NoRewardModel(LearnerError):
    """There is no reward model to score with; the message says which was looked for."""


def score_file(settings: Settings, file: Path, *, version: str | None = None) -> dict[str, Any]:
    """Figures of the reward model (the newest, or the one behind `version`) beside baselines; plain JSON.

    Raises `NoRewardModel`, `preferences.UnreadableFile`, `BaseNotFound`. Malformed lines are listed, never fatal.
    """
    started = time.monotonic()
    lines = _read(file)
    base = resolve_base(settings.model)
    row = _find(settings, version, base_fingerprint(base))

    from thumbwheel_learner.model.loading import load_policy
    from thumbwheel_learner.reward.baselines import evaluate_pairs
    from thumbwheel_learner.reward.model import load_reward

    template = None if has_chat_template(base) else PLAIN_CHAT_TEMPLATE
    reward = load_reward(load_policy(base, chat_template=template), settings.data / row.folder)
    figures = evaluate_pairs(reward, _pairs(lines), seed=settings.training.seed)
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(figures))
    return {
        "file": str(file),
        "reward_model": row.reward_id,
        "version": version,
        **plain,
        "malformed": [{"line": line.number, "reason": line.reason} for line in lines if line.pair is None],
        "seconds": time.monotonic() - started,
    }


def _read(file: Path) -> list[Line]:
    with open_file(file) as opened:
        return list(read_pairs(opened))


def _pairs(lines: list[Line]) -> list[Pair]:
    return [
        Pair(
            messages=line.pair.messages,
            chosen=line.pair.chosen,
            rejected=line.pair.rejected,
            origin="comparison",
            user=line.pair.user or "anonymous",
            conversation_id=line.pair.prompt_digest,
            created_ms=0,
            event_id=line.pair.digest,
        )
        for line in lines
        if line.pair is not None
    ]


def _find(settings: Settings, version: str | None, base: str) -> RewardModelRow:
    reward_id = None if version is None else _behind(settings, version)
    engine = connect(settings.database_url)
    try:
        row = _row(engine, reward_id, settings)
    finally:
        engine.dispose()
    if msgspec.json.decode(row.metrics)["base"] != base:
        raise NoRewardModel(f"reward model {row.reward_id} belongs to another base model than {settings.model}")
    return row


def _row(engine: Engine, reward_id: str | None, settings: Settings) -> RewardModelRow:
    nothing = f"no reward model has been trained yet in {settings.data}; `thumbwheel learn --now` trains one"
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
        raise NoRewardModel(nothing)
    try:
        row = reward_model(engine, reward_id)
    except SQLAlchemyError as error:
        raise NoRewardModel(f"the learner's database cannot be read: {error}") from error
    if row is None:
        raise NoRewardModel(nothing if reward_id is None else f"reward model {reward_id} is not there any more")
    return row


def _behind(settings: Settings, version: str) -> str:
    """The id of the reward model that a version was trained with, from its manifest."""
    try:
        _, manifest = read_verified(settings.artifacts, version, signing_key(settings.signing_key_file))
    except ArtifactError as error:
        raise NoRewardModel(f"version {version}: {error}") from error
    reward_id = manifest.reward_model.get("id")
    if not reward_id:
        raise NoRewardModel(f"version {version} was trained without a reward model")
    return str(reward_id)
