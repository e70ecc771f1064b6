"""Asking within a budget, kept as it comes, and never at the cost of a run."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine
from sqlmodel import select
from tests.learner_labeler import FakeLabeler
from tests.learner_models import logged, make_base, pair

from thumbwheel.box import Secrets
from thumbwheel.events import PersonErased
from thumbwheel_learner.dataset import snapshots
from thumbwheel_learner.dataset.examples import LoggedPrompt, Pair, Snapshot
from thumbwheel_learner.dataset.keys import NoKeys
from thumbwheel_learner.dataset.snapshots import Sourced
from thumbwheel_learner.model.tokens import ChatTokenizer
from thumbwheel_learner.progress import Progress, silent
from thumbwheel_learner.rlaif.labeler import BadVerdict, LabelerAway
from thumbwheel_learner.rlaif.labelling import Labelled, Labelling, LabellingConfig, items_of_labelled
from thumbwheel_learner.rlaif.questions import logged_pairs
from thumbwheel_learner.runs.run import Stopped
from thumbwheel_learner.store import erasures
from thumbwheel_learner.store.runs import label_counts
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import VerdictRow

KEY = "a" * 32
SECRET = b"k" * 32
SMALL = LabellingConfig(principle="short", pairs=20, human_pairs=10, min_human_pairs=5, patience=3)


def people(count: int, *, agreed: int | None = None) -> list[Pair]:
    """People prefer the longer answer, `agreed` times."""
    sides = [("a long answer", "short"), ("short", "a long answer")]
    return [pair(n, f"q{n}", *sides[n >= (count if agreed is None else agreed)]) for n in range(count)]


def twice(count: int) -> list[LoggedPrompt]:
    """Prompts that were answered twice."""
    return [
        msgspec.structs.replace(logged(100 + n, f"p{n}"), answer="no", other_answers=["long"]) for n in range(count)
    ]


class Desk:
    """A store with one frozen snapshot, and a labeler."""

    def __init__(self, engine: Engine, data: Path, config: LabellingConfig = SMALL) -> None:
        self.engine, self.data, self.config = engine, data, config
        self.labeler = FakeLabeler()
        self.keys: Any = NoKeys()
        self.sealed: Secrets = {}

    def label(
        self,
        pairs: Sequence[Pair],
        prompts: Sequence[LoggedPrompt] = (),
        run: str = "run-1",
        progress: Progress = silent,
    ) -> Labelled:
        snapshot = self.frozen(pairs, prompts)
        labelling = Labelling(self.engine, self.data, self.keys, self.labeler, self.config)
        return labelling.label(run, snapshot, weights={}, progress=progress)

    def frozen(self, pairs: Sequence[Pair], prompts: Sequence[LoggedPrompt]) -> Snapshot:
        return snapshots.write(self.data, [Sourced(e, self.sealed) for e in (*pairs, *prompts)], {}).snapshot

    def rows(self) -> list[VerdictRow]:
        with reading(self.engine) as session:
            rows = list(session.exec(select(VerdictRow)))
            session.expunge_all()
        return rows


@pytest.fixture
def desk(engine: Engine, tmp_path: Path) -> Desk:
    return Desk(engine, tmp_path)


def test_peoples_pairs_settle_the_weight_and_others_are_labelled(desk: Desk) -> None:
    found = desk.label(people(8), twice(4))
    assert len(desk.labeler.asked) == 12
    assert found.weight == found.facts["weight"] == pytest.approx(2 * (5 + 8) / (10 + 8) - 1)
    assert [(q.first, q.second, p) for q, p in found.pairs] == [("long", "no", 0.9)] * 4
    agreement = found.facts["agreement"]["comparison"]
    assert (agreement["pairs"], agreement["agreed"]) == (8.0, 8.0)
    assert agreement["low"] < agreement["mean"] < agreement["high"]
    assert {k: found.facts[k] for k in ("labeler", "asked", "failed", "stopped", "pairs", "consistent")} == {
        "labeler": "fake/1", "asked": 12, "failed": 0, "stopped": None, "pairs": 4, "consistent": 1.0,
    }  # fmt: skip


def test_pairs_on_which_people_have_spoken_are_no_labels_of_the_labelers(desk: Desk) -> None:
    judged = pair(50, "p0", "no", "long", tie=True)
    found = desk.label([*people(8), judged], twice(2))
    assert [q.conversation for q, _ in found.pairs] == ["conversation-101"]


@pytest.mark.parametrize(("count", "agreed"), [(4, 4), (8, 4), (8, 0)])
def test_without_enough_agreement_nothing_else_is_asked_or_used(desk: Desk, count: int, agreed: int) -> None:
    found = desk.label(people(count, agreed=agreed), twice(4))
    assert (found.weight, found.pairs) == (0.0, [])
    assert len(desk.labeler.asked) == count


def test_nothing_is_asked_twice_and_a_new_principle_asks_anew(desk: Desk) -> None:
    first = desk.label(people(8), twice(4))
    again = desk.label(people(8), twice(4), run="run-2")
    assert len(desk.labeler.asked) == 12
    assert (again.pairs, again.weight, again.facts["asked"]) == (first.pairs, first.weight, 0)
    desk.config = LabellingConfig(principle="other", pairs=20, human_pairs=10, min_human_pairs=5)
    desk.label(people(8), twice(4), run="run-3")
    assert len(desk.labeler.asked) == 24


def test_the_budget_is_the_runs_and_people_come_first(desk: Desk) -> None:
    found = desk.label(people(12), twice(15))
    assert (len(desk.labeler.asked), found.facts["asked"], len(found.pairs)) == (20, 20, 10)
    assert desk.label(people(12), twice(15)).facts["asked"] == 20
    assert len(desk.labeler.asked) == 20
    assert len(desk.label(people(12), twice(15), run="run-2").pairs) == 15


def test_a_killed_run_goes_on_where_it_was(desk: Desk) -> None:
    def stop(stage: str, share: float, detail: str) -> None:
        if len(desk.labeler.asked) == 5:
            raise Stopped("told to stop")

    with pytest.raises(Stopped):
        desk.label(people(8), twice(4), progress=stop)
    assert len(desk.rows()) == 5
    found = desk.label(people(8), twice(4))
    assert (len(desk.labeler.asked), len(desk.rows()), found.facts["asked"]) == (12, 12, 12)


def test_progress_names_the_pair(desk: Desk) -> None:
    said: list[str] = []
    desk.label(people(2), progress=lambda stage, share, detail: said.append(f"{stage}: {detail}"))
    assert said == ["reward: asking fake/1: pair 1 of 2", "reward: asking fake/1: pair 2 of 2"]


def test_a_labeler_that_goes_away_ends_the_asking_and_not_the_run(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    def leave(number: int) -> None:
        if number == 9:
            raise LabelerAway("fake/1 does not answer")

    desk.labeler.before = leave
    found = desk.label(people(8), twice(4))
    assert (found.facts["stopped"], found.facts["asked"], len(found.pairs)) == ("fake/1 does not answer", 9, 1)
    assert found.weight > 0
    assert "the run goes on without" in caplog.text


def test_nonsense_is_counted_and_after_so_many_in_a_row_nothing_more_is_asked(desk: Desk) -> None:
    tried: list[int] = []

    def babble(number: int) -> None:
        tried.append(number)
        if len(tried) != 3:
            raise BadVerdict("no verdict that can be read")

    desk.labeler.before = babble
    found = desk.label(people(8), twice(4))
    assert (len(tried), found.facts["failed"], found.facts["asked"], found.weight) == (6, 5, 1, 0.0)
    assert "3 pairs in a row without a verdict" in found.facts["stopped"]


class Ring:
    """A `KeySource` of one key."""

    def __init__(self) -> None:
        self.keys = {KEY: SECRET}

    def get(self, ids: Collection[str]) -> Secrets:
        return {i: self.keys[i] for i in ids if i in self.keys}


def test_no_words_lie_in_the_database_and_an_erasure_takes_the_verdicts(desk: Desk, tmp_path: Path) -> None:
    desk.sealed, desk.keys = {KEY: SECRET}, Ring()
    desk.label(people(3))
    rows = desk.rows()
    assert [row.key_ids for row in rows] == [KEY] * 3
    assert not any(b"answer" in path.read_bytes() for path in tmp_path.glob("learner.db*"))
    with writing(desk.engine) as session:
        erasures.remember(session, [("", PersonErased(erasure_id="er", keys=[KEY], created_ms=1))])
    assert desk.rows() == []


def test_who_is_erased_while_the_labeler_thinks_leaves_no_verdict(desk: Desk) -> None:
    def erase(number: int) -> None:
        if number == 1:
            with writing(desk.engine) as session:
                erasures.remember(session, [("", PersonErased(erasure_id="er", keys=[KEY], created_ms=1))])

    desk.sealed, desk.keys, desk.labeler.before = {KEY: SECRET}, Ring(), erase
    found = desk.label(people(3))
    assert desk.rows() == []
    assert found.facts["asked"] == 0


def test_nobody_is_asked_about_words_whose_key_is_gone(desk: Desk) -> None:
    desk.sealed, ring = {KEY: SECRET}, Ring()
    desk.keys = ring
    snapshot = desk.frozen(people(3), [])
    ring.keys.clear()
    labelling = Labelling(desk.engine, desk.data, ring, desk.labeler, SMALL)
    labelling.label("run-1", snapshot, weights={}, progress=silent)
    assert desk.labeler.asked == []


def test_verdicts_are_no_labels_of_people(desk: Desk) -> None:
    desk.label(people(8), twice(4))
    assert label_counts(desk.engine) == (0, 0)


def test_its_pairs_become_items_under_a_name_of_its_own(tmp_path: Path) -> None:
    tokens = ChatTokenizer.load(make_base(tmp_path / "base"))
    (question,) = logged_pairs([msgspec.structs.replace(logged(1, "late order"), other_answers=["no"])], set())
    (item,) = items_of_labelled(Labelled("fake/1", [(question, 0.2)], 0.25, {}), tokens, 64)
    assert (item.kind, item.user, item.value, item.weight) == ("pair", "labeler:fake/1", 0.2, 0.25)
    assert [row.answer for row in item.rows] == [tokens.answer_ids("no"), tokens.answer_ids("yes")]
    assert (item.conversation, item.created_ms) == ("conversation-1", 1)
