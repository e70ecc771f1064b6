import gzip
import hashlib
import random
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine
from tests.databases import learner_store
from tests.learner_events import feedback, turn
from tests.learner_fakes import MemoryBus

from thumbwheel.events import Envelope, FeedbackRecorded, ReviewMark, wrap
from thumbwheel.types import (
    Comparison,
    Correction,
    Critique,
    Demonstration,
    Flag,
    Outcome,
    Rating,
    Sampling,
    Thumb,
    TurnChoice,
)
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.dataset.examples import Snapshot, as_sent, usual_temperature
from thumbwheel_learner.dataset.freeze import freeze
from thumbwheel_learner.dataset.keys import NoKeys
from thumbwheel_learner.dataset.snapshots import SnapshotDamaged, load


def stored(engine: Engine, envelopes: list[Envelope]) -> None:
    bus = MemoryBus()
    for envelope in envelopes:
        bus.publish(envelope)
    consumer = Consumer(engine, bus)
    while consumer.step(0.0):
        pass


def snapshot_of(engine: Engine, tmp_path: Path, *given: FeedbackRecorded) -> Snapshot:
    stored(engine, [wrap(event) for event in given])
    return freeze(engine, tmp_path, NoKeys()).snapshot


def history() -> list[Envelope]:
    events = [wrap(turn(n), event_id=f"t{n}") for n in range(8)]
    events += [wrap(feedback(n), event_id=f"f{n}") for n in range(4)]
    events.append(wrap(feedback(5, Correction(completion_id="c-5", text="better")), event_id="f5"))
    return events


def test_what_people_were_asked_about_names_its_question(engine: Engine, tmp_path: Path) -> None:
    drawn, chosen = (ReviewMark(review_id=f"rv-{n}", random=n == 1) for n in (1, 2))
    better = Correction(completion_id="c-2", text="better")
    snapshot = snapshot_of(engine, tmp_path, feedback(1, review=drawn), feedback(2, better, review=chosen), feedback(3))
    assert [(j.review_id, j.random_slice) for j in snapshot.judged] == [("rv-1", True), (None, False)]
    assert [(p.review_id, p.random_slice) for p in snapshot.pairs] == [("rv-2", False)]
    assert [(d.review_id, d.random_slice) for d in snapshot.demos] == [("rv-2", False)]


def test_thumbs_ratings_and_flags_become_judgements(engine: Engine, tmp_path: Path) -> None:
    snapshot = snapshot_of(
        engine,
        tmp_path,
        feedback(1, Thumb(completion_id="c-1", value="up", user="ann")),
        feedback(2, Thumb(completion_id="c-2", value="down")),
        feedback(3, Rating(completion_id="c-3", value=4)),
        feedback(4, Flag(completion_id="c-4", value="unsafe")),
    )
    assert [(j.kind, j.value, j.answer) for j in snapshot.judged] == [
        ("thumb", 1.0, "answer 1"),
        ("thumb", 0.0, "answer 2"),
        ("rating", 4.0, "answer 3"),
        ("flag", 0.0, "answer 4"),
    ]
    assert [j.user for j in snapshot.judged][:2] == ["ann", "anonymous:conv-2"]
    assert snapshot.counts["thumbs_up"] == snapshot.counts["thumbs_down"] == snapshot.counts["flags"] == 1


@pytest.mark.parametrize(
    ("value", "chosen", "rejected", "tie"),
    [("this", "answer 1", "other", False), ("other", "other", "answer 1", False), ("tie", "answer 1", "other", True)],
)
def test_comparisons_become_pairs(
    engine: Engine, tmp_path: Path, value: str, chosen: str, rejected: str, tie: bool
) -> None:
    given = Comparison(completion_id="c-1", value=value, other_text="other")
    [pair] = snapshot_of(engine, tmp_path, feedback(1, given, other_answer="other")).pairs
    assert (pair.chosen, pair.rejected, pair.tie, pair.origin) == (chosen, rejected, tie, "comparison")


def test_the_other_completion_is_found_in_the_store_when_the_event_lacks_its_text(
    engine: Engine, tmp_path: Path
) -> None:
    given = Comparison(completion_id="c-1", value="other", other_completion_id="c-2")
    stored(engine, [wrap(turn(2, answer="the other one"))])
    [pair] = snapshot_of(engine, tmp_path, feedback(1, given)).pairs
    assert (pair.chosen, pair.rejected) == ("the other one", "answer 1")


def test_a_correction_is_a_pair_and_a_demonstration(engine: Engine, tmp_path: Path) -> None:
    snapshot = snapshot_of(engine, tmp_path, feedback(1, Correction(completion_id="c-1", text="better")))
    assert [(p.chosen, p.rejected, p.origin) for p in snapshot.pairs] == [("better", "answer 1", "correction")]
    assert [(d.text, d.origin) for d in snapshot.demos] == [("better", "correction")]


def test_a_correction_that_changes_nothing_is_no_pair(engine: Engine, tmp_path: Path) -> None:
    snapshot = snapshot_of(engine, tmp_path, feedback(1, Correction(completion_id="c-1", text=" answer 1 ")))
    assert snapshot.pairs == []
    assert len(snapshot.demos) == 1


def test_demonstrations_need_no_completion(engine: Engine, tmp_path: Path) -> None:
    shown = Demonstration(messages=[{"role": "user", "content": "hi"}], text="hello")
    event = FeedbackRecorded(feedback_id="d", revision=1, retracted=False, feedback=shown, created_ms=1)
    [demo] = snapshot_of(engine, tmp_path, event).demos
    assert (demo.text, demo.origin, demo.messages) == ("hello", "demonstration", shown.messages)


def test_what_became_of_an_answer_is_kept_and_of_a_whole_conversation_is_not(engine: Engine, tmp_path: Path) -> None:
    outcome = feedback(2, Outcome(name="solved", value=True, completion_id="c-2"))
    spans = Outcome(name="minutes", value=12.5, conversation_id="conv-3")
    whole = FeedbackRecorded(
        feedback_id="o", revision=1, retracted=False, feedback=spans, created_ms=1, conversation_id="conv-3"
    )
    snapshot = snapshot_of(engine, tmp_path, outcome, whole)
    assert [(o.name, o.value, o.answer, o.conversation_id) for o in snapshot.outcomes] == [
        ("solved", True, "answer 2", "conv-2")
    ]
    assert snapshot.counts["outcomes"] == 1
    assert (snapshot.pairs, snapshot.judged, snapshot.demos, snapshot.critiques) == ([], [], [], [])
    assert load(tmp_path, snapshot.hash, NoKeys()).snapshot == snapshot


def test_critiques_are_kept_and_so_are_comments_beside_a_bad_word(engine: Engine, tmp_path: Path) -> None:
    snapshot = snapshot_of(
        engine,
        tmp_path,
        feedback(1, Critique(completion_id="c-1", text="too long")),
        feedback(2, Thumb(completion_id="c-2", value="down", comment="rude")),
        feedback(3, Thumb(completion_id="c-3", value="up", comment="nice")),
        feedback(4, Thumb(completion_id="c-4", value="down")),
        feedback(5, Rating(completion_id="c-5", value=2, comment="vague")),
        feedback(6, Rating(completion_id="c-6", value=3, comment="fine")),
        feedback(7, Flag(completion_id="c-7", value="unsafe", comment="dangerous")),
    )
    said = [(c.answer, c.text) for c in snapshot.critiques]
    assert said == [
        ("answer 1", "too long"),
        ("answer 2", "rude"),
        ("answer 5", "vague"),
        ("answer 7", "dangerous"),
    ]
    assert snapshot.counts["critiques"] == 4
    assert len(snapshot.judged) == 6


def test_retracted_feedback_and_lost_turns_stay_out_and_are_counted(engine: Engine, tmp_path: Path) -> None:
    snapshot = snapshot_of(
        engine, tmp_path, feedback(1), feedback(1, revision=2, retracted=True), feedback(2, turn_status="lost")
    )
    assert snapshot.judged == []
    assert (snapshot.counts["excluded_retracted"], snapshot.counts["excluded_lost"]) == (1, 1)


def test_redacted_turns_teach_as_texts_and_are_no_prompts_to_practise_on(engine: Engine, tmp_path: Path) -> None:
    events = [turn(1), turn(2, redacted=True, user="ann"), feedback(2)]
    stored(engine, [wrap(event) for event in events])
    snapshot = freeze(engine, tmp_path, NoKeys()).snapshot
    told = [(prompt.completion_id, prompt.redacted, prompt.user) for prompt in snapshot.prompts]
    assert told == [("c-1", False, None), ("c-2", True, "ann")]
    assert [p.completion_id for p in as_sent(snapshot.prompts)] == ["c-1"]
    assert [j.answer for j in snapshot.judged] == ["answer 2"]
    assert (snapshot.counts["prompts"], snapshot.counts["prompts_redacted"]) == (2, 1)
    assert load(tmp_path, snapshot.hash, NoKeys()).snapshot == snapshot


def test_a_prompt_keeps_every_answer_that_was_asked_for(engine: Engine, tmp_path: Path) -> None:
    choices = [TurnChoice(index=n, text=text, finish_reason="stop") for n, text in enumerate(("one", "two", "three"))]
    stored(engine, [wrap(turn(1)), wrap(replace(turn(2), choices=choices))])
    plain, several = freeze(engine, tmp_path, NoKeys()).snapshot.prompts
    assert (plain.answer, plain.other_answers) == ("answer 1", [])
    assert (several.answer, several.other_answers) == ("one", ["two", "three"])


def test_a_prompt_knows_at_which_temperature_it_was_answered(engine: Engine, tmp_path: Path) -> None:
    cool = Sampling(temperature=0.6, top_p=1.0, top_k=0, min_p=0.0, presence_penalty=0.0, frequency_penalty=0.0,
                    repetition_penalty=1.0, max_tokens=64)  # fmt: skip
    greedy = replace(cool, temperature=0.0)
    stored(engine, [wrap(turn(n, sampling=given)) for n, given in enumerate((cool, cool, greedy, None))])
    prompts = freeze(engine, tmp_path, NoKeys()).snapshot.prompts
    assert [p.temperature for p in prompts] == [0.6, 0.6, 0.0, None]
    assert usual_temperature(prompts) == 0.6
    assert usual_temperature(prompts[2:]) == 0.3, "several answers to a prompt would be one"
    assert usual_temperature(prompts[3:]) == usual_temperature([]) == 1.0


def test_only_complete_chats_give_prompts(engine: Engine, tmp_path: Path) -> None:
    turns = [turn(1), turn(2, status="cut"), turn(3, status="lost"), turn(4, origin="import"), turn(5)]
    stored(engine, [wrap(event) for event in turns])
    assert [p.completion_id for p in freeze(engine, tmp_path, NoKeys()).snapshot.prompts] == ["c-1", "c-5"]
    assert [p.completion_id for p in freeze(engine, tmp_path, NoKeys(), max_prompts=1).snapshot.prompts] == ["c-5"]


def test_the_same_events_in_any_order_give_the_same_hash_and_file(tmp_path: Path) -> None:
    hashes, files = set[str](), set[bytes]()
    for attempt in range(3):
        events = history()
        random.Random(attempt).shuffle(events)
        with learner_store(tmp_path / f"{attempt}.db") as engine:
            stored(engine, events)
            frozen = freeze(engine, tmp_path / str(attempt), NoKeys())
        hashes.add(frozen.snapshot.hash)
        with gzip.open(tmp_path / str(attempt) / frozen.file) as file:
            files.add(b"".join(file.readlines()[1:]))
    assert len(hashes) == len(files) == 1


def test_redelivery_keeps_the_hash_and_one_more_label_changes_it(engine: Engine, tmp_path: Path) -> None:
    bus = MemoryBus()
    consumer = Consumer(engine, bus)
    hashes: list[str] = []
    for more in (history(), history(), [wrap(feedback(7))]):
        for envelope in more:
            bus.publish(envelope)
        while consumer.step(0.0):
            pass
        hashes.append(freeze(engine, tmp_path, NoKeys()).snapshot.hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_snapshot_loads_as_it_was_frozen_and_lists_its_events(engine: Engine, tmp_path: Path) -> None:
    stored(engine, history())
    frozen = freeze(engine, tmp_path, NoKeys())
    assert load(tmp_path, frozen.snapshot.hash, NoKeys()).snapshot == frozen.snapshot
    assert load(tmp_path, frozen.snapshot.hash, NoKeys()) == frozen
    listed = (tmp_path / frozen.events_file).read_bytes()
    assert hashlib.sha256(listed).hexdigest() == frozen.events_sha256
    assert listed.decode().split() == sorted(e.event_id for e in history())


def test_freezing_again_reuses_the_file(engine: Engine, tmp_path: Path) -> None:
    stored(engine, history())
    first = freeze(engine, tmp_path, NoKeys())
    written = (tmp_path / first.file).stat().st_mtime_ns
    again = freeze(engine, tmp_path, NoKeys())
    assert again.snapshot.created_ms == first.snapshot.created_ms
    assert (tmp_path / first.file).stat().st_mtime_ns == written


def damage_text(path: Path) -> None:
    with gzip.open(path) as file:
        body = file.read()
    with gzip.open(path, "wb") as file:
        file.write(body.replace(b"better", b"bitter"))


def drop_line(path: Path) -> None:
    with gzip.open(path) as file:
        lines = file.readlines()
    with gzip.open(path, "wb") as file:
        file.writelines(lines[:-1])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("harm", [damage_text, drop_line, truncate, Path.unlink])
def test_a_damaged_snapshot_is_refused_and_freezing_mends_it(engine: Engine, tmp_path: Path, harm: object) -> None:
    stored(engine, history())
    frozen = freeze(engine, tmp_path, NoKeys())
    assert callable(harm)
    harm(tmp_path / frozen.file)
    with pytest.raises(SnapshotDamaged, match=frozen.snapshot.hash):
        load(tmp_path, frozen.snapshot.hash, NoKeys())
    freeze(engine, tmp_path, NoKeys())
    assert load(tmp_path, frozen.snapshot.hash, NoKeys()).snapshot.hash == frozen.snapshot.hash
