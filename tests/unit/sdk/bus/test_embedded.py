"""The embedded bus against the answers and silences of a service."""

import httpx
import msgspec
import pytest
from tests.log_endpoint import LogTransport, problem

from thumbwheel.bus import BusError, BusUnavailable, NewRecord, OffsetOutOfRange, TopicPartition
from thumbwheel.bus.embedded import EmbeddedBus
from thumbwheel.errors import ConfigurationError
from thumbwheel.events import CONTROL, new_id
from thumbwheel.internal import LogAppend


def record(value: bytes = b"x", key: str = "ann") -> NewRecord:
    return NewRecord(CONTROL.name, key, new_id("ev"), value)


def answering(*answers: httpx.Response | Exception) -> EmbeddedBus:
    waiting = list(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return EmbeddedBus("http://service", "admin-key", transport=httpx.MockTransport(handle))


def read_once(bus: EmbeddedBus) -> None:
    bus.consumer([CONTROL.name], group=None, start=lambda at: 0).poll(0)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_service_in_trouble_is_an_unavailable_bus(status: int) -> None:
    with answering(problem(status, "No", "busy")) as bus:
        with pytest.raises(BusUnavailable, match="busy"):
            bus.append([record()])
        with pytest.raises(BusUnavailable):
            read_once(bus)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_a_refusal_for_good_is_told_apart_from_an_outage(status: int) -> None:
    with answering(problem(status, "No", "never")) as bus, pytest.raises(BusError, match="never") as raised:
        bus.append([record()])
    assert not isinstance(raised.value, BusUnavailable)


def test_gone_is_out_of_range() -> None:
    with (
        answering(problem(410, "Gone", "0 is not in [5, 9]")) as bus,
        pytest.raises(OffsetOutOfRange, match="0 is not"),
    ):
        read_once(bus)


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ReadTimeout("silence")])
def test_no_answer_is_an_unavailable_bus(error: Exception) -> None:
    with answering(error) as bus, pytest.raises(BusUnavailable):
        bus.append([record()])


def test_a_connection_that_broke_is_tried_once_more() -> None:
    log = LogTransport()
    broken = [httpx.RemoteProtocolError("server disconnected")]

    def handle(request: httpx.Request) -> httpx.Response:
        answer = log.handle_request(request)
        if broken:
            raise broken.pop()
        return answer

    with EmbeddedBus("http://service", "admin-key", transport=httpx.MockTransport(handle)) as bus:
        bus.append([record()])
        consumer = bus.consumer([CONTROL.name], group=None, start=lambda at: 0)
        assert [r.offset for r in consumer.poll(0)] == [0], "what was stored before the connection broke is not doubled"


def test_a_stranger_at_the_address_is_recognised() -> None:
    with answering(httpx.Response(200, text="<html>")) as bus, pytest.raises(BusError, match="did not answer with"):
        bus.append([record()])


def test_large_appends_are_split_and_stay_in_order() -> None:
    sizes: list[tuple[int, int]] = []
    log = LogTransport()

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/internal/log":
            body = msgspec.msgpack.decode(request.content, type=LogAppend)
            sizes.append((len(body.records), len(request.content)))
        return log.handle_request(request)

    sent = [record(b"%d" % i + bytes(3000)) for i in range(3000)]
    with EmbeddedBus("http://service", "admin-key", transport=httpx.MockTransport(handle)) as bus:
        bus.append(sent)
        bus.append([])
        consumer = bus.consumer([CONTROL.name], group=None, start=lambda at: 0)
        got: list[bytes] = []
        while len(got) < 3000:
            got += [r.value for r in consumer.poll(1)]
    assert got == [r.value for r in sent]
    assert all(count <= 1024 and size < 5 << 20 for count, size in sizes)
    assert len(sizes) > 1


def test_a_partition_that_was_never_assigned_cannot_be_sought() -> None:
    with EmbeddedBus("http://service", "admin-key", transport=LogTransport()) as bus:
        consumer = bus.consumer([CONTROL.name], group=None, start=lambda at: 0)
        with pytest.raises(ConfigurationError, match="not assigned"):
            consumer.seek(TopicPartition("thumbwheel.turns", 0), 3)
