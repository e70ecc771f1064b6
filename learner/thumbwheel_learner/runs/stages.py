"""The stages of a real run: what each algorithm is given, and what its report means for the run."""

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine

from thumbwheel.events import now_ms
from thumbwheel_learner.dataset.examples import LoggedPrompt, Snapshot, as_sent
from thumbwheel_learner.gate.evaluate import gate_prompts, judge_gate
from thumbwheel_learner.gate.judge import train_judge
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import ChatTokenizer
from thumbwheel_learner.ppo.train import NothingToPractise, train_ppo
from thumbwheel_learner.progress import Progress
from thumbwheel_learner.questions.ask import Asking, Sampling
from thumbwheel_learner.questions.known import known_items
from thumbwheel_learner.questions.selection import BadPool
from thumbwheel_learner.reward.labels import Evidence, Item, split_evidence
from thumbwheel_learner.reward.model import load_reward
from thumbwheel_learner.reward.training import TooFewLabels, train_reward
from thumbwheel_learner.rlaif.labelling import Labelling, items_of_labelled
from thumbwheel_learner.rollouts.engine import RolloutEngine
from thumbwheel_learner.rollouts.served import RolloutFailed, RolloutRefused
from thumbwheel_learner.runs.plan import Recipe
from thumbwheel_learner.runs.publish import Provenance, Publisher
from thumbwheel_learner.runs.run import RunInterrupted
from thumbwheel_learner.runs.stage import Stage, StageInput, StageOutcome
from thumbwheel_learner.sft import NoDemonstrations, demo_rows, train_sft
from thumbwheel_learner.store.runs import keep_reward_model, reward_model, spare_reward_models
from thumbwheel_learner.store.tables import RewardModelRow
from thumbwheel_learner.voters.weigh import Weighing, weigh, without_held

log = logging.getLogger(__name__)
REWARD_MODELS = "reward_models"
ADAPTER = "adapter"


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Everything the stages need beside what a run gives them."""

    engine: Engine
    data: Path
    base: str
    """Fingerprint of the base model."""
    model: Callable[[], PolicyModel]
    """The one base model in memory, loaded at the first call."""
    rollouts: Callable[[PolicyModel], AbstractContextManager[RolloutEngine]]
    publisher: Publisher
    recipe: Recipe
    labelling: Labelling | None = None
    """Asks a language model for labels beside people's; None: nobody is asked."""
    asking: Asking | None = None
    """Asks people what the fresh reward model would like to know; None: nobody is asked."""

    def stages(self) -> dict[str, Stage]:
        """By name, for a `Runner`."""
        stages: dict[str, Stage] = {"reward": self.reward, "sft": self.sft, "ppo": self.ppo}
        stages |= {"gate": self.gate, "publish": self.publish}
        return stages if self.asking is None else stages | {"questions": self.questions}

    def evidence(self, given: StageInput) -> Evidence:
        """The snapshot in two halves: reward, SFT and PPO learn from one, the gate's judge from the other."""
        gate = self.recipe.gate
        return split_evidence(given.snapshot, gate.judge_share, seed=gate.seed)

    def heard(self, snapshot: Snapshot, given: StageInput) -> tuple[Snapshot, Weighing]:
        """What is left without users in quarantine, and what the others weigh.

        Each half of the evidence is weighed by itself, so that neither has a say in the other.
        """
        known = known_items(given.snapshot.prompts, self.asking.known) if self.asking else {}
        weighing = weigh(snapshot.judged, snapshot.pairs, self.recipe.voters, known=known)
        return without_held(snapshot, weighing), weighing

    def reward(self, given: StageInput) -> StageOutcome:
        """Train the reward model; it becomes the current one.

        A run of this stage alone learns from every label: no gate follows whose judge would need its own.
        """
        alone = given.stages == ("reward",)
        snapshot, voters = self.heard(given.snapshot if alone else self.evidence(given).training, given)
        extra, asked = self.labelled(given, snapshot, voters)
        said = {"voters": voters.as_dict(), **asked}
        reward_id = f"rm-{given.run_id.removeprefix('run-')}"
        folder = self.data / REWARD_MODELS / reward_id
        try:
            _, report = train_reward(
                self.model(),
                snapshot,
                self.recipe.reward,
                folder,
                weights=voters.weights,
                extra=extra,
                progress=given.progress,
            )
        except TooFewLabels as error:
            return StageOutcome(result={"skipped": str(error), **said}, reason=str(error))
        figures = report.as_dict() | {"sees": "all" if alone else "training", "base": self.base}
        row = RewardModelRow(
            reward_id=reward_id,
            run_id=given.run_id,
            folder=f"{REWARD_MODELS}/{reward_id}",
            snapshot=given.snapshot.hash,
            metrics=msgspec.json.encode(figures).decode(),
            created_ms=now_ms(),
        )
        keep_reward_model(self.engine, row)
        for old in spare_reward_models(self.engine):
            shutil.rmtree(self.data / old.folder, ignore_errors=True)
        return StageOutcome(result={"id": reward_id, "folder": row.folder, **figures, **said})

    def labelled(self, given: StageInput, heard: Snapshot, voters: Weighing) -> tuple[list[Item], dict[str, Any]]:
        """A labeler's pairs for the reward model, and what the stage says of them; nothing where nobody is asked."""
        if self.labelling is None:
            return [], {}
        labelled = self.labelling.label(given.run_id, heard, weights=voters.weights, progress=given.progress)
        items = items_of_labelled(labelled, self.model().tokens, self.recipe.reward.max_length)
        return items, {"labeler": labelled.facts}

    def questions(self, given: StageInput) -> StageOutcome:
        """Ask people about recent chats, by the reward model of this run; whatever is away, the run goes on."""
        found = given.results.get("reward", {"skipped": "this run has no reward stage"})
        if self.asking is None or "skipped" in found:
            return StageOutcome(result={"skipped": str(found.get("skipped", "nobody is asked"))})
        model, config = self.model(), self.recipe.ppo
        reward = load_reward(model, self.data / found["folder"])
        seed = int(hashlib.sha256(given.run_id.encode()).hexdigest()[:8], 16)
        try:
            with self.rollouts(model) as engine:
                sampling = Sampling(engine, given.parent.adapter, config.max_prompt, config.max_tokens)
                result = self.asking.ask(reward, found["id"], sampling, seed=seed)
        except RolloutFailed as error:
            log.warning("nobody is asked to compare answers: %s", error)
            result = self.asking.ask(reward, found["id"], None, seed=seed)
        except BadPool as error:
            return StageOutcome(result={"skipped": str(error)}, reason=str(error))
        return StageOutcome(result=result)

    def sft(self, given: StageInput) -> StageOutcome:
        """Teach the live policy what people say should have been said."""
        training, _ = self.heard(self.evidence(given).training, given)
        try:
            _, report = train_sft(
                self.model(),
                given.parent.adapter,
                training,
                self.recipe.sft,
                given.folder / ADAPTER,
                progress=given.progress,
            )
        except NoDemonstrations as error:
            return StageOutcome(result={"skipped": str(error)}, reason=str(error))
        return StageOutcome(result={ADAPTER: f"sft/{ADAPTER}", **report.as_dict()})

    def ppo(self, given: StageInput) -> StageOutcome:
        """Practise on logged prompts against the reward model, unless that is no better than chance."""
        found = self._reward_for_ppo(given)
        if isinstance(found, str):
            return StageOutcome(result={"skipped": found}, reason=found)
        model, evidence = self.model(), self.evidence(given)
        config = self.recipe.ppo.within(len(evidence.training.judged) + len(evidence.training.pairs))
        prompts = prompts_to_practise(model.tokens, evidence.training.prompts)
        heard, _ = self.heard(evidence.training, given)
        rows = demo_rows(heard, model, config.max_prompt + config.max_tokens) if config.sft_coef else []
        try:
            with self._rollouts(model) as engine:
                _, report = train_ppo(
                    model,
                    given.trained_adapter() or given.parent.adapter,
                    load_reward(model, self.data / found["folder"]),
                    prompts,
                    engine,
                    config,
                    given.folder / ADAPTER,
                    work=given.folder / "work",
                    demonstrations=rows,
                    progress=given.progress,
                )
        except NothingToPractise as error:
            return StageOutcome(result={"skipped": str(error)}, reason=str(error))
        shutil.rmtree(given.folder / "work", ignore_errors=True)
        return StageOutcome(result={ADAPTER: f"ppo/{ADAPTER}", "reward_model": found["id"], **report.as_dict()})

    def gate(self, given: StageInput) -> StageOutcome:
        """Compare what was trained with the live policy; only what is shown to be better goes on."""
        candidate = given.trained_adapter()
        if candidate is None:
            said = [f"{stage}: {result['skipped']}" for stage, result in given.results.items() if "skipped" in result]
            reason = "no policy was trained" + (f" ({'; '.join(said)})" if said else "")
            return StageOutcome(result={}, state="halted", reason=reason)
        model, config, evidence = self.model(), self.recipe.gate, self.evidence(given)
        first, second = _half(given.progress, 0.0), _half(given.progress, 0.5)
        (training, _), (judging, weighing) = (self.heard(half, given) for half in (evidence.training, evidence.judge))
        judge = train_judge(
            model,
            Evidence(training, judging, evidence.disjoint),
            config.judge,
            given.folder / "judge",
            resamples=config.resamples,
            seed=config.seed,
            weights=weighing.weights,
            progress=first,
        )
        prompts = gate_prompts(model, evidence.judge.prompts, config)
        with self._rollouts(model) as engine:
            verdict = judge_gate(
                model,
                given.parent.adapter,
                candidate,
                judge,
                prompts,
                engine,
                config,
                disjoint=evidence.disjoint,
                progress=second,
            )
        reason = "; ".join(verdict.reasons)
        result = verdict.as_dict() | {"voters": weighing.as_dict()}
        return StageOutcome(result=result, state=None if verdict.accepted else "rejected", reason=reason)

    def publish(self, given: StageInput) -> StageOutcome:
        """Offer the accepted policy under a version of its own."""
        adapter = given.trained_adapter()
        if adapter is None:
            return StageOutcome(result={}, state="halted", reason="no policy was trained")
        version = self.publisher.publish(given.run_id, adapter, provenance(given, self.base))
        return StageOutcome(result={"version": version}, state="published", reason="; ".join(_reasons(given)))

    def _reward_for_ppo(self, given: StageInput) -> Mapping[str, Any] | str:
        """This run's reward model, else the newest one; or why there can be no PPO."""
        found: Mapping[str, Any] | None = given.results.get("reward")
        if found is None:
            row = reward_model(self.engine)
            if row is None:
                return "there is no reward model yet; include the reward stage"
            found = {"id": row.reward_id, "folder": row.folder, **msgspec.json.decode(row.metrics)}
        if "skipped" in found:
            return f"there is no reward model: {found['skipped']}"
        if found["sees"] != "training" or found["base"] != self.base:
            return f"{found['id']} cannot be used here (it saw the judge's labels, or another base); train it anew"
        return _chance(found) or found

    @contextmanager
    def _rollouts(self, model: PolicyModel) -> Iterator[RolloutEngine]:
        """Sampling, with a service that stays away taken for an interruption rather than a failure."""
        try:
            with self.rollouts(model) as engine:
                yield engine
        except RolloutRefused:
            raise
        except RolloutFailed as error:
            raise RunInterrupted(str(error)) from error


def prompts_to_practise(tokens: ChatTokenizer, prompts: Sequence[LoggedPrompt]) -> list[list[int]]:
    """Logged prompts as token ids, those that were redacted left out."""
    return [p.prompt_token_ids or tokens.prompt_ids(p.messages) for p in as_sent(prompts)]


def provenance(given: StageInput, base: str) -> Provenance:
    """Everything a version's manifest says of its origin."""
    verdict = unnamed(given.results.get("gate", {}))
    trained = {stage: dict(given.results[stage]) for stage in ("sft", "ppo") if stage in given.results}
    return Provenance(
        parent=given.parent.version,
        base_model=base,
        snapshot=dict(given.snapshot_facts),
        reward_model=unnamed(given.results.get("reward", {"id": given.results.get("ppo", {}).get("reward_model")})),
        metrics={"kl_to_base": verdict.get("kl_base"), "kl_to_parent": verdict.get("kl"), **trained},
        verdict=verdict,
    )


def unnamed(result: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's result without the voters it names: a manifest travels further than a run's detail."""
    return {name: value for name, value in result.items() if name != "voters"}


def _chance(figures: Mapping[str, Any]) -> str | None:
    """Why a reward model is not to be trusted; None when it orders held-out answers better than chance."""
    for name in ("auc", "pair_accuracy"):
        mean = figures[name]["mean"]
        if mean is not None:
            return None if mean > 0.5 else f"the reward model is no better than chance: {name} {mean:.2f}"
    return "the reward model could not be checked: the held-out labels are too few or all alike"


def _half(progress: Progress, start: float) -> Progress:
    """Half of the gate's progress bar, whatever the algorithm calls its own stage."""
    return lambda stage, share, detail: progress("gate", start + share / 2, detail)


def _reasons(given: StageInput) -> list[str]:
    return list(given.results.get("gate", {}).get("reasons", []))
