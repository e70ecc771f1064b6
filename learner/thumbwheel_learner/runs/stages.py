"""The stages of a real run: what each algorithm is given, and what its report means for the run."""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Engine

from thumbwheel.events import now_ms
from thumbwheel_learner.dataset.examples import Snapshot, usual_temperature
from thumbwheel_learner.distributed.crew import Crew, Job
from thumbwheel_learner.distributed.world import GroupBroken
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.ppo.train import NothingToPractise
from thumbwheel_learner.questions.ask import Asking
from thumbwheel_learner.questions.known import known_items
from thumbwheel_learner.refinement.refine import Refined, pairs_of, read_refined
from thumbwheel_learner.reward.labels import Evidence, Item, split_evidence
from thumbwheel_learner.reward.model import load_reward
from thumbwheel_learner.reward.training import TooFewLabels
from thumbwheel_learner.rlaif.labelling import Labelling, items_of_labelled
from thumbwheel_learner.rollouts.engine import RolloutEngine
from thumbwheel_learner.rollouts.served import RolloutFailed, RolloutRefused
from thumbwheel_learner.runs.asking import ask_people
from thumbwheel_learner.runs.evidence import not_shown, unusable
from thumbwheel_learner.runs.jobs import (
    Judging,
    Shifted,
    compare,
    learn_demonstrations,
    learn_reward,
    practise,
    prompts_to_practise,
    write_anew,
)
from thumbwheel_learner.runs.plan import Recipe
from thumbwheel_learner.runs.provenance import provenance, reasons
from thumbwheel_learner.runs.publish import Publisher
from thumbwheel_learner.runs.run import RunInterrupted
from thumbwheel_learner.runs.stage import Stage, StageInput, StageOutcome
from thumbwheel_learner.sft import NoDemonstrations, demo_rows
from thumbwheel_learner.store.runs import gates_before, keep_reward_model, reward_model, spare_reward_models
from thumbwheel_learner.store.tables import RewardModelRow
from thumbwheel_learner.voters.weigh import Weighing, weigh, without_held

log = logging.getLogger(__name__)
R = TypeVar("R")
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
    """The one base model in memory, loaded at the first call, in all processes of the crew."""
    rollouts: Callable[[PolicyModel], AbstractContextManager[RolloutEngine]]
    publisher: Publisher
    recipe: Recipe
    labelling: Labelling | None = None
    """Asks a language model for labels beside people's; None: nobody is asked."""
    asking: Asking | None = None
    """Asks people what the fresh reward model would like to know; None: nobody is asked."""
    crew: Crew = field(default_factory=Crew)
    """The processes that train; by default this one alone."""

    def stages(self) -> dict[str, Stage]:
        """By name, for a `Runner`."""
        first: dict[str, Stage] = {"refine": self.refine} if self.recipe.refinement.on else {}
        asking: dict[str, Stage] = {"questions": self.questions} if self.asking is not None else {}
        rest: dict[str, Stage] = {"reward": self.reward, "sft": self.sft, "ppo": self.ppo}
        return first | asking | rest | {"gate": self.gate, "publish": self.publish}

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

    def refine(self, given: StageInput) -> StageOutcome:
        """Teach a refinement step to write criticised answers anew, and let it answer what nobody corrected."""
        if "sft" not in given.stages:
            return StageOutcome(result={"skipped": "this run has no SFT to learn from refined answers"})
        heard, _ = self.heard(self.evidence(given).training, given)
        job = partial(
            write_anew,
            start=given.parent.adapter,
            snapshot=heard,
            config=self.recipe.refinement,
            folder=given.folder,
        )
        try:
            with self._rollouts(self.model()) as engine:
                figures = self._together(job, given, engine)
        except NoDemonstrations as error:
            return StageOutcome(result={"skipped": str(error)}, reason=str(error))
        return StageOutcome(result={"folder": "refine", **figures})

    def reward(self, given: StageInput) -> StageOutcome:
        """Train the reward model; it becomes the current one.

        A run of this stage alone learns from every label: no gate follows whose judge would need its own.
        """
        alone = given.stages == ("reward",)
        snapshot, voters = self.heard(given.snapshot if alone else self.evidence(given).training, given)
        extra, asked = self.labelled(given, snapshot, voters)
        extra += pairs_of(refined_in(given), self.model().tokens, self.recipe.refinement, self.recipe.reward.max_length)
        said = {"voters": voters.as_dict(), **asked}
        reward_id = f"rm-{given.run_id.removeprefix('run-')}"
        folder = self.data / REWARD_MODELS / reward_id
        shifted = self.shifted(given, snapshot)
        job = partial(
            learn_reward,
            snapshot=snapshot,
            config=self.recipe.reward,
            folder=folder,
            weights=voters.weights,
            extra=extra,
            shifted=shifted,
            propensity=self.recipe.propensity,
        )
        try:
            with self._rollouts(self.model()) if shifted else nullcontext() as engine:
                report, spoken = self._together(job, given, engine)
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
        result = {"id": reward_id, "folder": row.folder, **figures, **said, **spoken}
        lacking = None if alone else not_shown(figures)
        return StageOutcome(result=result, state="halted" if lacking else None, reason=lacking or "")

    def labelled(self, given: StageInput, heard: Snapshot, voters: Weighing) -> tuple[list[Item], dict[str, Any]]:
        """A labeler's pairs for the reward model, and what the stage says of them; nothing where nobody is asked."""
        if self.labelling is None:
            return [], {}
        labelled = self.labelling.label(given.run_id, heard, weights=voters.weights, progress=given.progress)
        items = items_of_labelled(labelled, self.model().tokens, self.recipe.reward.max_length)
        return items, {"labeler": labelled.facts}

    def shifted(self, given: StageInput, heard: Snapshot) -> Shifted | None:
        """What the live policy is asked for the meta step; None where that is off, or there are no prompts."""
        if not self.recipe.reward.meta_rate:
            return None
        asked = prompts_to_practise(self.model().tokens, heard.prompts)
        usable = [p for p in asked if len(p) <= self.recipe.ppo.max_prompt]
        return Shifted(given.parent.adapter, usable) if usable else None

    def questions(self, given: StageInput) -> StageOutcome:
        """Ask people about recent chats, by the reward model of this run."""
        found = given.results.get("reward", {"skipped": "this run has no reward stage"})
        if self.asking is None or "skipped" in found:
            return StageOutcome(result={"skipped": str(found.get("skipped", "nobody is asked"))})
        if self.crew.world.size > 1:
            return StageOutcome(result={"skipped": "a learner of several processes asks nobody"})
        model = self.model()
        reward = load_reward(model, self.data / found["folder"])
        return ask_people(self.asking, reward, found["id"], given, lambda: self.rollouts(model), self.recipe.ppo)

    def sft(self, given: StageInput) -> StageOutcome:
        """Teach the live policy what people say should have been said."""
        training, _ = self.heard(self.evidence(given).training, given)
        refined = refined_in(given)
        found = self._reward_for_ppo(given) if refined else "nothing was refined"
        job = partial(
            learn_demonstrations,
            start=given.parent.adapter,
            snapshot=training,
            config=self.recipe.sft,
            folder=given.folder / ADAPTER,
            refined=refined,
            refinement=self.recipe.refinement,
            reward=None if isinstance(found, str) else self.data / found["folder"],
        )
        try:
            report, learned = self._together(job, given)
        except NoDemonstrations as error:
            return StageOutcome(result={"skipped": str(error)}, reason=str(error))
        return StageOutcome(result={ADAPTER: f"sft/{ADAPTER}", "refined": learned, **report.as_dict()})

    def ppo(self, given: StageInput) -> StageOutcome:
        """Practise on logged prompts against the reward model, unless that is no better than chance.

        The gate's judge looks on: a run that only games its reward is stopped, and its best policy so far is kept.
        """
        found = self._reward_for_ppo(given)
        if isinstance(found, str):
            return StageOutcome(result={"skipped": found}, reason=found)
        model, evidence = self.model(), self.evidence(given)
        config = self.recipe.ppo.within(len(evidence.training.judged) + len(evidence.training.pairs))
        prompts = prompts_to_practise(model.tokens, evidence.training.prompts)
        heard, _ = self.heard(evidence.training, given)
        rows = demo_rows(heard, model, config.max_prompt + config.max_tokens) if config.sft_coef else []
        job = partial(
            practise,
            start=given.trained_adapter() or given.parent.adapter,
            reward=self.data / found["folder"],
            prompts=prompts,
            config=config,
            judging=self.judging(given)[0],
            folder=given.folder / ADAPTER,
            work=given.folder / "work",
            demonstrations=rows,
        )
        try:
            with self._rollouts(model) as engine:
                report = self._together(job, given, engine)
        except NothingToPractise as error:
            return StageOutcome(result={"skipped": str(error)}, reason=str(error))
        shutil.rmtree(given.folder / "work", ignore_errors=True)
        if report.history[-1].get("kept") == 0:
            left = {"skipped": f"{report.stopped}; nothing of it is kept", **report.as_dict()}
            return StageOutcome(result=left, reason=left["skipped"])
        return StageOutcome(result={ADAPTER: f"ppo/{ADAPTER}", "reward_model": found["id"], **report.as_dict()})

    def gate(self, given: StageInput) -> StageOutcome:
        """Compare what was trained with the live policy; only what is shown to be better goes on."""
        candidate = given.trained_adapter()
        if candidate is None:
            said = [f"{stage}: {result['skipped']}" for stage, result in given.results.items() if "skipped" in result]
            reason = "no policy was trained" + (f" ({'; '.join(said)})" if said else "")
            return StageOutcome(result={}, state="halted", reason=reason)
        judging, voters = self.judging(given)
        turn = gates_before(self.engine, given.run_id)
        job = partial(compare, judging=judging, live=given.parent.adapter, candidate=candidate, turn=turn)
        with self._rollouts(self.model()) as engine:
            verdict = self._together(job, given, engine)
        reason = "; ".join(verdict.reasons)
        result = verdict.as_dict() | {"voters": voters.as_dict()}
        return StageOutcome(result=result, state=None if verdict.accepted else "rejected", reason=reason)

    def judging(self, given: StageInput) -> tuple[Judging, Weighing]:
        """What the run's judge is made of, for whichever stage asks for it first."""
        evidence = self.evidence(given)
        (training, _), (judging, weighing) = (self.heard(half, given) for half in (evidence.training, evidence.judge))
        heard = Evidence(training, judging, evidence.disjoint)
        config = replace(self.recipe.gate, temperature=usual_temperature(given.snapshot.prompts))
        return Judging(heard, weighing.weights, config, given.run_folder / "judge"), weighing

    def publish(self, given: StageInput) -> StageOutcome:
        """Offer the accepted policy under a version of its own."""
        adapter = given.trained_adapter()
        if adapter is None:
            return StageOutcome(result={}, state="halted", reason="no policy was trained")
        version = self.publisher.publish(given.run_id, adapter, provenance(given, self.base))
        return StageOutcome(result={"version": version}, state="published", reason="; ".join(reasons(given)))

    def _reward_for_ppo(self, given: StageInput) -> Mapping[str, Any] | str:
        """This run's reward model, else the newest one; or why there can be no PPO."""
        found: Mapping[str, Any] | None = given.results.get("reward")
        if found is None:
            row = reward_model(self.engine)
            if row is None:
                return "there is no reward model yet; include the reward stage"
            found = {"id": row.reward_id, "folder": row.folder, **msgspec.json.decode(row.metrics)}
        return unusable(found, self.base) or found

    def _together(self, job: Job[R], given: StageInput, engine: RolloutEngine | None = None) -> R:
        """A job in every process of the crew; one that is lost interrupts the run, which goes on with a new crew."""
        try:
            return self.crew.do(job, self.model(), engine, given.progress)
        except GroupBroken as error:
            raise RunInterrupted(str(error)) from error

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


def refined_in(given: StageInput) -> list[Refined]:
    """What this run's refinement step wrote; nothing where it is off or was left out."""
    folder = given.results.get("refine", {}).get("folder")
    return read_refined(given.run_folder / folder) if folder else []
