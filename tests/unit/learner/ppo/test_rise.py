import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.learner_models import make_base
from tests.learner_ppo import PROMPTS, SMALL

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.rise import LEAST, went_nowhere
from thumbwheel_learner.ppo.state import POLICY, REFERENCE
from thumbwheel_learner.ppo.train import train_ppo
from thumbwheel_learner.reward.model import RewardScores
from thumbwheel_learner.rollouts.sampler import TransformersSampler

CONFIG = PpoConfig(diversity=0.5)
JITTER = [0.1, -0.1, 0.05, -0.05] * 4


def history(gain: float, likeness: float = 0.0, length: int = 16) -> list[dict[str, float]]:
    """A run whose score gains `gain` and whose likeness rises by `likeness` between its first and last iteration."""
    shares = [(n, n / (length - 1)) for n in range(length)]
    return [{"score": gain * s + JITTER[n], "resemblance": likeness * s} for n, s in shares]


@pytest.mark.parametrize("gain", [0.3, 2.0])
def test_what_rose_is_kept(gain: float) -> None:
    assert went_nowhere(history(gain), CONFIG) is None


@pytest.mark.parametrize(("gain", "likeness"), [(0.0, 0.0), (-1.0, 0.0), (0.3, 0.6)])
def test_a_run_that_gained_nothing_says_so(gain: float, likeness: float) -> None:
    said = went_nowhere(history(gain, likeness), CONFIG)
    assert said is not None
    assert said.startswith("what it maximises was not shown to rise in 16 iterations")


def test_a_short_run_is_not_judged_by_its_trend() -> None:
    assert went_nowhere(history(-1.0, length=LEAST - 1), CONFIG) is None
    assert went_nowhere(history(-1.0, length=LEAST), CONFIG) is not None


def test_whoever_wants_whatever_comes_gets_it() -> None:
    assert went_nowhere(history(-1.0), PpoConfig(rise=1.0)) is None


class Dice:
    """Scores that nobody can learn: they change with every call."""

    def __init__(self) -> None:
        self.calls = 0

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        self.calls += 1
        digests = [hashlib.sha256(f"{self.calls} {n} {answer}".encode()).digest() for n, answer in enumerate(answers)]
        scores = torch.tensor([float(digest[0]) for digest in digests])
        return RewardScores(scores, torch.zeros_like(scores), scores[:, None])

    def identity(self) -> str:
        return "dice"


def test_a_walk_at_random_ends_where_it_began(tmp_path: Path) -> None:
    model = load_policy(make_base(tmp_path / "base", scale=1.0))
    config = PpoConfig(**(vars(SMALL) | {"iterations": LEAST}))
    engine, folder = TransformersSampler(model), tmp_path / "out"
    _, report = train_ppo(model, None, Dice(), PROMPTS, engine, config, folder, work=tmp_path / "work")
    assert report.stopped is not None
    assert (report.iterations, report.history[-1]["kept"], report.kl) == (LEAST, 0.0, pytest.approx(0.0, abs=1e-6))
    assert max(h["kl"] for h in report.history) > 0
    model.load(POLICY, folder)
    for kept, old in zip(model.parameters(POLICY), model.parameters(REFERENCE), strict=True):
        assert torch.equal(kept, old)
