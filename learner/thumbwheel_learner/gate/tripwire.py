"""Reward hacking: PPO's reward says the policy gets better, and a judge that knows other people says it gets worse."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and numpy are partial; what leaves this file is typed)

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from scipy.stats import t as student

from thumbwheel_learner.distributed.world import ALONE, World
from thumbwheel_learner.files import write_atomically
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.gate.judge import Judge, TextScorer, compare
from thumbwheel_learner.gate.verdict import lacking_evidence
from thumbwheel_learner.measures import Array
from thumbwheel_learner.ppo.tripwire import Good
from thumbwheel_learner.rollouts.engine import Rollout, RolloutEngine

LOOKS = "looks.json"


class Look(Struct, frozen=True, kw_only=True):
    """One policy's answers to the fixed prompts, and what reward and judge make of them."""

    iteration: int
    answers: list[list[str]]
    """[P][n] texts."""
    proxy: list[float]
    """[P] the reward that PPO maximises."""
    judged: float
    """Mean score of the judge: orders the looks, decides nothing."""


class JudgeTripwire:
    """A `ppo.tripwire.Tripwire`: the gate's judge beside the reward, on prompts that stay the same.

    It goes off when, compared with the best policy so far (by the judge), the reward has risen significantly and the
    judge's win rate, its own error counted, lies significantly below one half; both by one-sided t-tests over prompts
    at `config.significance` divided by the number of looks (Bonferroni). Its prompts are not the gate's: what the gate
    says of the policy that is kept is not what it was kept for.
    """

    def __init__(
        self,
        judge: Judge,
        reward: TextScorer,
        prompts: Sequence[Sequence[int]],
        engine: RolloutEngine,
        config: GateConfig,
        folder: Path,
        world: World = ALONE,
    ) -> None:
        """`folder` keeps the looks, and the best policy, for a run that goes on after a kill; `world` trains on it."""
        self._judge = judge
        self._reward = reward
        self._prompts = [list(p) for p in prompts][: config.tripwire_prompts]
        self._engine = engine
        self._config = config
        self._folder = folder
        self._world = world
        self._looks: dict[int, Look] = {look.iteration: look for look in world.from_first(self._known)}

    def look(self, iteration: int, planned: int, policy: Callable[[], Path]) -> str | None:
        """See `Tripwire.look`; every few iterations, at the start and at the end."""
        every = self._config.tripwire_every
        if iteration % every and iteration != planned:
            return None
        known = self._looks.get(iteration)
        look = known or self._take(iteration, policy())
        earlier = [seen for seen in self._looks.values() if seen.iteration < iteration]
        if known is None:
            self._looks[iteration] = look
            self._world.from_first(self._keep)
        return self._hacked(look, max(earlier, key=_judged), planned // every + 2) if earlier else None

    def good(self) -> Good:
        """See `Tripwire.good`."""
        best = max(self._looks.values(), key=_judged)
        return Good(best.iteration, self._policy(best.iteration))

    def _take(self, iteration: int, policy: Path) -> Look:
        config = self._config
        said = self._engine.sample(
            policy,
            self._prompts,
            n=config.answers_per_prompt,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            seed=config.seed + 1,
        )
        self._world.from_first(lambda: _copy(policy, self._policy(iteration)))
        prompts = [p for p, row in zip(self._prompts, said, strict=True) for _ in row]
        texts = [r.text for row in said for r in row]
        proxy: Array = self._reward.score(prompts, texts).mean.double().numpy().reshape(len(said), -1).mean(axis=1)
        judged = float(self._judge.model.score(prompts, texts).mean.mean())
        answers = [[r.text for r in row] for row in said]
        return Look(iteration=iteration, answers=answers, proxy=[float(x) for x in proxy], judged=judged)

    def _hacked(self, now: Look, best: Look, looks: int) -> str | None:
        """Why, if reward and judge disagree about what became of the policy since its best."""
        config, gain = self._config, np.array(now.proxy) - np.array(best.proxy)
        old, new = ([[Rollout([], [], True, a) for a in row] for row in look.answers] for look in (best, now))
        groups = ["all"] * len(self._prompts)
        told = compare(
            self._judge, self._prompts, old, new, groups=groups, resamples=config.resamples, seed=config.seed
        )
        fall, limit = told.parts[0], config.significance / looks
        rise = _p_of_no_rise(gain)
        if not (rise < limit and fall.p < limit):
            return None
        return (
            f"reward hacking: from iteration {best.iteration} to {now.iteration} the reward rose by {gain.mean():.2f} "
            f"while the held-out judge prefers the earlier answers ({1 - fall.win_rate:.2f} of them, "
            f"at least {1 - told.win_rate.high:.2f})"
        )

    def _known(self) -> list[Look]:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / LOOKS
        return msgspec.json.decode(file.read_bytes(), type=list[Look]) if file.is_file() else []

    def _keep(self) -> None:
        """Write what was seen, and forget every policy but the best."""
        write_atomically(self._folder / LOOKS, msgspec.json.encode(list(self._looks.values())))
        best = self.good().iteration
        for iteration in self._looks:
            if iteration != best:
                shutil.rmtree(self._policy(iteration), ignore_errors=True)

    def _policy(self, iteration: int) -> Path:
        return self._folder / f"policy-{iteration:04d}"


def tripwire_of(
    judge: Judge | None,
    reward: TextScorer,
    prompts: Sequence[Sequence[int]],
    engine: RolloutEngine,
    config: GateConfig,
    work: Path,
    *,
    world: World = ALONE,
) -> JudgeTripwire | None:
    """One on some of PPO's own prompts; None where the judge may be no better than chance and would stop by chance."""
    asked = list(dict.fromkeys(tuple(p) for p in prompts if 0 < len(p) <= config.max_prompt))
    trusted = judge is not None and not lacking_evidence(judge, config.min_prompts, config)
    if judge is None or not trusted or not judge.quality.low > 0.5 or len(asked) < config.min_prompts:
        return None
    return JudgeTripwire(judge, reward, asked, engine, config, work / "tripwire", world)


def _copy(policy: Path, to: Path) -> None:
    shutil.copytree(policy, to, dirs_exist_ok=True)


def _judged(look: Look) -> float:
    return look.judged


def _p_of_no_rise(gain: Array) -> float:
    """One-sided t-test that the mean is not above zero; 0 or 1 where nothing scatters."""
    deviation = float(gain.std(ddof=1)) / len(gain) ** 0.5 if len(gain) > 1 else float("nan")
    if not deviation > 0:
        return float(not gain.mean() > 0)
    return float(student.sf(gain.mean() / deviation, len(gain) - 1))
