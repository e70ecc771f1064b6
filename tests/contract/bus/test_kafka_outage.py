"""What an outage leaves behind in the process: nothing."""

import threading

import pytest
from tests.brokers import Broker, wait_until
from tests.contract.bus.conftest import KafkaArena

from thumbwheel.bus import BusUnavailable, EventBus, NewRecord
from thumbwheel.events import FEEDBACK, new_id

pytestmark = [pytest.mark.kafka, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]


@pytest.mark.parametrize("arena", ["kafka"], indirect=True)
def test_failed_producers_and_consumers_leave_no_thread(arena: KafkaArena, broker: Broker) -> None:
    if not broker.can_fail:
        pytest.skip("this broker is not ours to stop")
    before = set(threading.enumerate())
    with arena.bus() as bus:
        bus.append([NewRecord(FEEDBACK.name, "ann", new_id("ev"), b"x")])
        arena.stop()
        try:
            for _ in range(3):
                with pytest.raises(BusUnavailable):
                    bus.append([NewRecord(FEEDBACK.name, f"k{i}", new_id("ev"), b"x") for i in range(8)])
                with pytest.raises(BusUnavailable):
                    open_and_poll(bus)
            wait_until(lambda: set(threading.enumerate()) <= before, 60, "threads of the driver are left running")
        finally:
            arena.start()


def open_and_poll(bus: EventBus) -> None:
    consumer = bus.consumer([FEEDBACK.name], group=None, start=lambda at: 0)
    try:
        for _ in range(40):
            consumer.poll(0.5)
    finally:
        consumer.close()
