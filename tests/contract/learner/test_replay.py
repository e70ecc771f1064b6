"""However the events arrived, the store is what a rebuild from zero is; read again from anywhere, it stays so."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.learner.conftest import Stores
from tests.learner_fakes import MemoryBus
from tests.learner_replay import DAMAGES, catch_up, checked, history
from tests.unit.learner.test_consume_replay import contents, crash_once, drain, histories

from thumbwheel.bus import Record
from thumbwheel.events import Envelope
from thumbwheel_learner.consume import Consumer
from thumbwheel_learner.replay.rebuild import offsets_of
from thumbwheel_learner.replay.rewind import rewind
from thumbwheel_learner.store.session import connect, migrate


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    events=histories(),
    batch=st.integers(1, 7),
    crashes=st.lists(st.booleans(), max_size=3),
    seed=st.integers(0, 2**16),
)
def test_a_store_in_whatever_order_equals_the_one_from_zero_and_reading_again_changes_nothing(
    stores: Stores, events: list[Envelope], batch: int, crashes: list[bool], seed: int
) -> None:
    stores.empty()
    chance, bus = random.Random(seed), MemoryBus(batch=batch)
    for envelope in events:
        bus.publish(envelope)

    def deliver(records: list[Record]) -> list[Record]:
        """Some of them again, some from long ago, and the partitions in any order."""
        old = [record for log in bus.logs.values() for record in log[:1]]
        return chance.sample(records, len(records)) + chance.sample(old, min(len(old), 2))

    bus.deliver = deliver
    for before_commit in crashes:
        crash_once(stores.store, bus, before_commit=before_commit)
    drain(Consumer(stores.store, bus), bus)
    bus.deliver = lambda records: records
    assert checked(*stores, bus).equal
    straight = contents(stores.rebuilt)
    assert contents(stores.store) == straight

    reached = offsets_of(stores.store)
    words = [f"{at.topic}/{at.partition}/{chance.randint(0, end)}" for at, end in reached.items()]
    if words:
        rewind(stores.store, bus, chance.sample(words, chance.randint(1, len(words))))
    bus.deliver = deliver
    catch_up(stores.store, bus)
    assert contents(stores.store) == straight
    bus.deliver = lambda records: records
    assert checked(*stores, bus).equal
    assert offsets_of(stores.store) == reached


@pytest.mark.parametrize("name", DAMAGES, ids=["-".join(name) for name in DAMAGES])
def test_damage_is_found_and_mended_by_reading_again(stores: Stores, name: tuple[str, str]) -> None:
    stores.empty()
    bus = MemoryBus()
    for envelope in history():
        bus.publish(envelope)
    catch_up(stores.store, bus)
    DAMAGES[name](stores.store)
    table, kind = name
    assert checked(*stores, bus).differences == {table: {kind: 1}}
    rewind(stores.store, bus, ["beginning"])
    catch_up(stores.store, bus)
    assert checked(*stores, bus).equal


def test_a_rebuild_may_lie_in_another_kind_of_database(
    stores: Stores, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stores.empty()
    bus = MemoryBus()
    for number, key in enumerate(("a", "B", "é", "ä", "z", "_", "€", "😀", "a-", "A1")):
        envelope = history(1)[0]
        event = type(envelope.event)
        fields = {name: getattr(envelope.event, name) for name in event.__struct_fields__} | {"completion_id": key}
        bus.publish(event(**fields), event_id=f"e{number}")
    catch_up(stores.store, bus)
    other = connect(f"sqlite:///{tmp_path_factory.mktemp('other') / 'other.db'}")
    migrate(other)
    found = checked(stores.store, other, bus)
    assert (found.equal, found.rows["turns"]) == (True, 10)
    other.dispose()
