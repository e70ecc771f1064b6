"""What a run trains, as jobs for one process or several; all else of a stage is done by the first alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from thumbwheel_learner.dataset.examples import LoggedPrompt, Snapshot, as_sent
from thumbwheel_learner.distributed.crew import Tools
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.gate.evaluate import judge_gate
from thumbwheel_learner.gate.exam import make_exam
from thumbwheel_learner.gate.judge import Judge, train_judge
from thumbwheel_learner.gate.tripwire import tripwire_of
from thumbwheel_learner.gate.verdict import Verdict
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import ChatTokenizer
from thumbwheel_learner.ppo.config import PpoConfig, PpoReport
from thumbwheel_learner.ppo.train import train_ppo
from thumbwheel_learner.progress import Progress
from thumbwheel_learner.propensity.votes import Spoken, weigh_thumbs
from thumbwheel_learner.propensity.weigh import PropensityConfig
from thumbwheel_learner.refinement.refine import Refined, RefinementConfig, demonstrations_of, refine
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.labels import Evidence, Item, Row
from thumbwheel_learner.reward.meta_step import sample_shifted
from thumbwheel_learner.reward.model import load_reward
from thumbwheel_learner.reward.report import RewardReport
from thumbwheel_learner.reward.training import train_reward
from thumbwheel_learner.sft import SftConfig, SftReport, train_sft


class Shifted(NamedTuple):
    """The policy whose answers the meta step looks at, and the prompts it is asked."""

    adapter: Path | None
    prompts: Sequence[Sequence[int]]


def learn_reward(
    tools: Tools,
    *,
    snapshot: Snapshot,
    config: RewardConfig,
    folder: Path,
    weights: Mapping[str, float],
    extra: Sequence[Item],
    shifted: Shifted | None,
    propensity: PropensityConfig | None,
) -> tuple[RewardReport, dict[str, Any]]:
    """A reward model in `folder`, and what thumbs stand for, if that is asked; raises `TooFewLabels`."""
    model, answers = tools.model, list[list[Row]]()
    if shifted is not None:
        prompts = [list(p) for p in shifted.prompts]
        answers = sample_shifted(model, tools.rollouts, shifted.adapter, prompts, config.max_length, config.seed)
    spoken = Spoken({}, {}) if propensity is None else weigh_thumbs(model, snapshot, config.max_length, propensity)
    _, report = train_reward(
        model,
        snapshot,
        config,
        folder,
        weights=weights,
        stands_for=spoken.weights,
        extra=extra,
        shifted=answers,
        progress=tools.progress,
    )
    return report, {} if propensity is None else {"propensity": spoken.facts}


def write_anew(
    tools: Tools, *, start: Path | None, snapshot: Snapshot, config: RefinementConfig, folder: Path
) -> dict[str, Any]:
    """A refinement step and its answers in `folder`; raises `NoDemonstrations`."""
    progress = _as("refine", tools.progress)
    _, figures = refine(tools.model, start, snapshot, tools.rollouts, config, folder, progress=progress)
    return figures


def learn_demonstrations(
    tools: Tools,
    *,
    start: Path | None,
    snapshot: Snapshot,
    config: SftConfig,
    folder: Path,
    refined: Sequence[Refined],
    refinement: RefinementConfig,
    reward: Path | None,
) -> tuple[SftReport, int]:
    """An adapter in `folder`, and how many refined answers it learned from; raises `NoDemonstrations`.

    Those that the reward model in `reward` prefers; none without one.
    """
    model, extra = tools.model, list[Row]()
    if refined and reward is not None:
        scorer = load_reward(model, reward)
        extra = demonstrations_of(refined, scorer, model.tokens, refinement, config.max_length)
    _, report = train_sft(model, start, snapshot, config, folder, extra=extra, progress=tools.progress)
    return report, len(extra)


class Judging(NamedTuple):
    """What the run's judge is made of, or read from: it is trained by the first job that asks for it."""

    evidence: Evidence
    weights: Mapping[str, float]
    """By user, of the judge's half."""
    config: GateConfig
    folder: Path

    def judge(self, model: PolicyModel, progress: Progress) -> Judge | None:
        """The judge; None without labels."""
        return train_judge(
            model,
            self.evidence,
            self.config.judge,
            self.folder,
            resamples=self.config.resamples,
            seed=self.config.seed,
            weights=self.weights,
            progress=progress,
        )


def prompts_to_practise(tokens: ChatTokenizer, prompts: Sequence[LoggedPrompt]) -> list[list[int]]:
    """Logged prompts as token ids, those that were redacted left out."""
    return [p.prompt_token_ids or tokens.prompt_ids(p.messages) for p in as_sent(prompts)]


def practise(
    tools: Tools,
    *,
    start: Path | None,
    reward: Path,
    prompts: Sequence[Sequence[int]],
    config: PpoConfig,
    judging: Judging,
    folder: Path,
    work: Path,
    demonstrations: Sequence[Row],
) -> PpoReport:
    """An adapter in `folder`, by PPO against the reward model in `reward`; raises `NothingToPractise`.

    The gate's judge looks on and may stop it.
    """
    model, engine, progress = tools.model, tools.rollouts, tools.progress
    judge = judging.judge(model, lambda stage, share, detail: progress("ppo", 0.0, f"judge: {detail}"))
    scorer = load_reward(model, reward)
    _, report = train_ppo(
        model,
        start,
        scorer,
        prompts,
        engine,
        config,
        folder,
        work=work,
        demonstrations=demonstrations,
        tripwire=tripwire_of(judge, scorer, prompts, engine, judging.config, work, world=model.world),
        progress=progress,
    )
    return report


def compare(tools: Tools, *, judging: Judging, live: Path | None, candidate: Path, turn: int) -> Verdict:
    """The gate's verdict on `candidate`."""
    first, second = _half(tools.progress, 0.0), _half(tools.progress, 0.5)
    model, config = tools.model, judging.config
    judge = judging.judge(model, first)
    return judge_gate(
        model,
        live,
        candidate,
        judge,
        make_exam(model, judging.evidence.judge, config, turn),
        tools.rollouts,
        config,
        disjoint=judging.evidence.disjoint,
        turn=turn,
        progress=second,
    )


def _as(name: str, progress: Progress) -> Progress:
    """Progress under another stage's name, whatever the algorithm calls its own."""
    return lambda stage, share, detail: progress(name, share, detail)


def _half(progress: Progress, start: float) -> Progress:
    """Half of the gate's progress bar, whatever the algorithm calls its own stage."""
    return lambda stage, share, detail: progress("gate", start + share / 2, detail)
