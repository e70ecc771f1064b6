"""The step before reward training that asks a labeler: people's pairs first, then pairs that nobody has judged."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine

from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.dataset.keys import KeySource, ask
from thumbwheel_learner.dataset.snapshots import keys_by_event
from thumbwheel_learner.model.tokens import ChatTokenizer, fit
from thumbwheel_learner.progress import Progress
from thumbwheel_learner.reward.labels import Item, Row, prompt_key
from thumbwheel_learner.rlaif.agreement import agreements, worth
from thumbwheel_learner.rlaif.labeler import LabelerAway, NoVerdict, PreferenceLabeler
from thumbwheel_learner.rlaif.questions import Question, digests, human_pairs, logged_pairs
from thumbwheel_learner.rlaif.settings import PRINCIPLE
from thumbwheel_learner.store.verdicts import Kept, asked_by, keep_verdict, verdicts_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LabellingConfig:
    """What is asked, and when its answers count."""

    principle: str = PRINCIPLE
    pairs: int = 200
    """Asked in one run at most."""
    human_pairs: int = 100
    """The newest so many of people's pairs are put to the labeler; all that ever were count."""
    min_human_pairs: int = 30
    """With fewer pairs of one origin judged by both, the labeler's labels weigh nothing."""
    per_prompt: int = 3
    """Pairs of answers to one prompt that a run asks about at most."""
    patience: int = 5
    """Pairs in a row without a verdict after which the labeler is left alone for this run."""


class Labelled(NamedTuple):
    """Pairs that only the labeler has judged, and what is known of it."""

    labeler: str
    pairs: list[tuple[Question, float]]
    """Each with P(the first answer is better); empty where its labels weigh nothing."""
    weight: float
    facts: dict[str, Any]
    """For the reward stage's result: plain JSON without anybody's words."""


@dataclass
class _Round:
    """How the asking went in this attempt."""

    failed: int = 0
    in_a_row: int = 0
    stopped: str = ""


class Labelling:
    """Asks within a budget and keeps every verdict as it comes, so that a killed run asks nothing twice."""

    def __init__(
        self, engine: Engine, data: Path, keys: KeySource, labeler: PreferenceLabeler, config: LabellingConfig
    ) -> None:
        """`data`: where snapshots lie; `keys`: of the people in them."""
        self._engine = engine
        self._data = data
        self._keys = keys
        self._labeler = labeler
        self._config = config

    def label(self, run_id: str, snapshot: Snapshot, *, weights: Mapping[str, float], progress: Progress) -> Labelled:
        """Verdicts on pairs of this snapshot; a labeler that fails ends the asking, never the run.

        Pairs without a human word are asked about only while the labeler's word weighs something. `weights` by user.
        Raises what `progress` raises, and `KeysAway`.
        """
        config, name = self._config, self._labeler.name
        humans, how = human_pairs(snapshot.pairs), _Round()
        known = verdicts_of(self._engine, name, config.principle)
        held = keys_by_event(self._data, snapshot.hash)
        self._ask([h.question for h in humans[: config.human_pairs]], known, held, how, run_id, progress)
        found = agreements(humans, {digest: kept.probability for digest, kept in known.items()}, weights)
        weight = worth(found, config.min_human_pairs)
        pairs = self._only_ours(snapshot, known, held, how, run_id, progress) if weight > 0 else []
        used = [known[q.digest] for q in (*(h.question for h in humans), *pairs) if q.digest in known]
        facts = {
            "labeler": name,
            "principle": config.principle,
            "asked": asked_by(self._engine, run_id),
            "failed": how.failed,
            "stopped": how.stopped or None,
            "agreement": {agreement.origin: agreement.as_dict() for agreement in found},
            "consistent": sum(kept.consistent for kept in used) / len(used) if used else None,
            "weight": weight,
            "pairs": len(pairs),
        }
        return Labelled(name, [(q, known[q.digest].probability) for q in pairs], weight, facts)

    def _only_ours(
        self,
        snapshot: Snapshot,
        known: dict[str, Kept],
        held: Mapping[str, frozenset[str]],
        how: _Round,
        run_id: str,
        progress: Progress,
    ) -> list[Question]:
        """Pairs on which only the labeler has a verdict, after asking about new ones."""
        judged = digests(snapshot.pairs)
        fresh = logged_pairs(snapshot.prompts, judged | known.keys(), self._config.per_prompt)
        self._ask(fresh, known, held, how, run_id, progress)
        return [q for q in logged_pairs(snapshot.prompts, judged) if q.digest in known]

    def _ask(
        self,
        questions: Sequence[Question],
        known: dict[str, Kept],
        held: Mapping[str, frozenset[str]],
        how: _Round,
        run_id: str,
        progress: Progress,
    ) -> None:
        """What is not known yet, within the run's budget; adds to `known`."""
        left = self._config.pairs - asked_by(self._engine, run_id)
        todo = list({q.digest: q for q in questions if q.digest not in known}.values())[: max(0, left)]
        wanted = {q.digest: {key for event in q.event_ids for key in held.get(event, ())} for q in todo}
        secrets = ask(self._keys, {key for keys in wanted.values() for key in keys})
        for number, question in enumerate(todo):
            if how.stopped:
                return
            progress("reward", 0.0, f"asking {self._labeler.name}: pair {number + 1} of {len(todo)}")
            if wanted[question.digest] <= secrets.keys():
                keys = {key: secrets[key] for key in wanted[question.digest]}
                self._ask_one(question, known, keys, how, run_id)

    def _ask_one(
        self, question: Question, known: dict[str, Kept], keys: Mapping[str, bytes], how: _Round, run_id: str
    ) -> None:
        principle = self._config.principle
        try:
            verdict = self._labeler.compare(principle, question.messages, question.first, question.second)
        except LabelerAway as error:
            how.stopped = str(error)
            log.warning("%s; the run goes on without", error)
            return
        except NoVerdict as error:
            how.failed, how.in_a_row = how.failed + 1, how.in_a_row + 1
            log.warning("no label on a pair: %s", error)
            if how.in_a_row >= self._config.patience:
                how.stopped = f"{how.in_a_row} pairs in a row without a verdict; the last: {error}"
            return
        how.in_a_row = 0
        kept = Kept(verdict.probability, verdict.consistent)
        if keep_verdict(
            self._engine,
            question.digest,
            kept,
            labeler=verdict.labeler,
            principle=principle,
            reason=verdict.reason,
            event_ids=question.event_ids,
            keys=keys,
            run_id=run_id,
        ):
            known[question.digest] = kept


def items_of_labelled(labelled: Labelled, tokens: ChatTokenizer, max_length: int) -> list[Item]:
    """The labeler's pairs for `train_reward`, under one user that is no person's id."""
    items: list[Item] = []
    for question, probability in labelled.pairs:
        prompt = tokens.prompt_ids(question.messages)
        answers = (question.first, question.second)
        rows = tuple(Row(*fit(prompt, tokens.answer_ids(text), max_length)) for text in answers)
        user, key = f"labeler:{labelled.labeler}", prompt_key(question.messages)
        items.append(
            Item(
                "pair",
                rows,
                probability,
                user,
                question.conversation,
                question.created_ms,
                key,
                labelled.weight,
            )
        )
    return items
