"""What a run trains, as jobs for one process or several; all else of a stage is done by the first alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.distributed.crew import Tools
from thumbwheel_learner.gate.evaluate import GateConfig, Verdict, gate_prompts, judge_gate
from thumbwheel_learner.gate.judge import train_judge
from thumbwheel_learner.ppo.state import PpoConfig, PpoReport
from thumbwheel_learner.ppo.train import train_ppo
from thumbwheel_learner.progress import Progress
from thumbwheel_learner.reward.labels import Evidence, Item, Row
from thumbwheel_learner.reward.model import RewardConfig, load_reward
from thumbwheel_learner.reward.report import RewardReport
from thumbwheel_learner.reward.training import train_reward
from thumbwheel_learner.sft import SftConfig, SftReport, train_sft


def learn_reward(
    tools: Tools,
    *,
    snapshot: Snapshot,
    config: RewardConfig,
    folder: Path,
    weights: Mapping[str, float],
    extra: Sequence[Item],
) -> RewardReport:
    """A reward model in `folder`; raises `TooFewLabels`."""
    _, report = train_reward(
        tools.model, snapshot, config, folder, weights=weights, extra=extra, progress=tools.progress
    )
    return report


def learn_demonstrations(
    tools: Tools, *, start: Path | None, snapshot: Snapshot, config: SftConfig, folder: Path
) -> SftReport:
    """An adapter in `folder`; raises `NoDemonstrations`."""
    _, report = train_sft(tools.model, start, snapshot, config, folder, progress=tools.progress)
    return report


def practise(
    tools: Tools,
    *,
    start: Path | None,
    reward: Path,
    prompts: Sequence[Sequence[int]],
    config: PpoConfig,
    folder: Path,
    work: Path,
    demonstrations: Sequence[Row],
) -> PpoReport:
    """An adapter in `folder`, by PPO against the reward model in `reward`; raises `NothingToPractise`."""
    _, report = train_ppo(
        tools.model,
        start,
        load_reward(tools.model, reward),
        prompts,
        tools.rollouts,
        config,
        folder,
        work=work,
        demonstrations=demonstrations,
        progress=tools.progress,
    )
    return report


def compare(
    tools: Tools,
    *,
    evidence: Evidence,
    weights: Mapping[str, float],
    live: Path | None,
    candidate: Path,
    config: GateConfig,
    folder: Path,
) -> Verdict:
    """The gate's verdict on `candidate`, by a judge that is trained for it."""
    first, second = _half(tools.progress, 0.0), _half(tools.progress, 0.5)
    judge = train_judge(
        tools.model,
        evidence,
        config.judge,
        folder,
        resamples=config.resamples,
        seed=config.seed,
        weights=weights,
        progress=first,
    )
    prompts = gate_prompts(tools.model, evidence.judge.prompts, config)
    return judge_gate(
        tools.model,
        live,
        candidate,
        judge,
        prompts,
        tools.rollouts,
        config,
        disjoint=evidence.disjoint,
        progress=second,
    )


def _half(progress: Progress, start: float) -> Progress:
    """Half of the gate's progress bar, whatever the algorithm calls its own stage."""
    return lambda stage, share, detail: progress("gate", start + share / 2, detail)
