"""The stream that benchmarks send is one that the learner takes whole."""

from collections import Counter

from tests.benchmarks.real_events import record

from thumbwheel.bus import Record
from thumbwheel.events import FeedbackSealed, topic_and_key
from thumbwheel_learner.store.examine import examine

MANY = 900


def test_every_record_is_an_event_of_real_size_on_its_topic_under_its_key_and_id() -> None:
    for number in range(MANY):
        made = record(number)
        envelope = examine(Record(made.topic, 0, number, made.key, made.value))
        topic, key = topic_and_key(envelope.event)
        assert (topic.name, key, envelope.event_id) == (made.topic, made.key, made.event_id)
        assert 1_500 < len(made.value) < 10_000


def test_a_few_come_twice_and_a_few_thumbs_change_while_turns_stay_apart() -> None:
    made = [record(number) for number in range(MANY)]
    times = Counter(one.event_id for one in made)
    assert Counter(times.values())[2] == MANY // 100
    events = [examine(Record(one.topic, 0, 0, one.key, one.value)).event for one in made]
    thumbs = [event for event in events if isinstance(event, FeedbackSealed)]
    assert {event.revision for event in thumbs} == {1, 2}
    first = {event.feedback_id for event in thumbs if event.revision == 1}
    assert sum(event.feedback_id in first for event in thumbs if event.revision == 2) > MANY // 40
