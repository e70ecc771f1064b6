"""Leases on partitions, on both databases: one holder each, and an epoch that tells holders apart."""

import pytest
from sqlalchemy import Engine, select, update
from tests.contract.service.store import write

from thumbwheel.bus import TopicPartition
from thumbwheel_service.db.tables import RelayRow
from thumbwheel_service.log import lease
from thumbwheel_service.log.lease import NotMine
from thumbwheel_service.owner import Owner

PARTITIONS = (TopicPartition("t", 0), TopicPartition("t", 1))
LEFT, RIGHT = Owner("left", "1"), Owner("right", "1")
LONG = 60_000


def take(database: Engine, owner: Owner, lease_ms: int = LONG) -> dict[TopicPartition, int]:
    return write(database, lambda s: lease.take(s, owner, PARTITIONS, lease_ms))


def test_a_lease_has_one_holder_until_it_is_released(database: Engine) -> None:
    assert take(database, LEFT) == dict.fromkeys(PARTITIONS, 1)
    assert take(database, RIGHT) == {}
    assert take(database, LEFT) == dict.fromkeys(PARTITIONS, 1)
    write(database, lambda s: lease.release(s, LEFT, PARTITIONS))
    assert take(database, RIGHT) == dict.fromkeys(PARTITIONS, 2)


def test_a_lease_that_ran_out_changes_hands(database: Engine) -> None:
    take(database, LEFT, lease_ms=0)
    assert take(database, RIGHT) == dict.fromkeys(PARTITIONS, 2)
    assert take(database, LEFT) == {}


def test_leases_are_taken_one_by_one(database: Engine) -> None:
    take(database, LEFT)
    write(database, lambda s: s.execute(update(RelayRow).where(RelayRow.partition == 1).values(until_ms=0)))
    assert take(database, RIGHT) == {PARTITIONS[1]: 2}
    assert take(database, LEFT) == {PARTITIONS[0]: 1}


@pytest.mark.parametrize(("replica", "epoch"), [("left", 2), ("lef", None), ("le_t", None), ("%", None)])
def test_only_the_same_replica_takes_over_at_once(database: Engine, replica: str, epoch: int | None) -> None:
    take(database, LEFT)
    expected = {} if epoch is None else dict.fromkeys(PARTITIONS, epoch)
    assert take(database, Owner(replica, "2")) == expected


def test_a_position_moves_under_the_lease_it_was_read_with_alone(database: Engine) -> None:
    at = PARTITIONS[0]
    stale = take(database, LEFT, lease_ms=0)
    write(database, lambda s: lease.advance(s, LEFT, at, stale[at], 0, 3))
    fresh = take(database, RIGHT)
    assert write(database, lambda s: lease.positions(s, fresh)) == {at: 3, PARTITIONS[1]: 0}
    assert write(database, lambda s: lease.positions(s, stale)) == {}
    for owner, epoch, before in ((LEFT, stale[at], 3), (RIGHT, stale[at], 3), (RIGHT, fresh[at], 2)):
        with pytest.raises(NotMine):
            write(database, lambda s, o=owner, e=epoch, b=before: lease.advance(s, o, at, e, b, 9))
    assert write(database, lambda s: s.execute(select(RelayRow.next).where(RelayRow.partition == 0)).scalar_one()) == 3
