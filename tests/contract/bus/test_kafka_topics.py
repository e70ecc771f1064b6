"""Topics as only Kafka has them: made once, with the settings that durability rests on. Needs admin calls."""

import uuid

import pytest
from tests.brokers import Broker

from thumbwheel.bus import partition_of
from thumbwheel.bus.kafka import MAX_MESSAGE_BYTES, KafkaBus
from thumbwheel.bus.whole import read_whole
from thumbwheel.cli import main
from thumbwheel.events import CONTROL, FEEDBACK, POLICIES, TOPICS

pytestmark = pytest.mark.kafka


@pytest.fixture
def prefix(broker: Broker) -> str:
    if not broker.has_admin:
        pytest.skip(f"{broker.name} has no admin calls")
    return f"test-{uuid.uuid4().hex[:8]}."


def test_topics_are_made_once_and_kept_and_one_broker_is_warned_of(
    broker: Broker, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with KafkaBus(broker.bootstrap, options=broker.options, topic_prefix=prefix) as bus:
        assert bus.ensure_topics() == {prefix + name: "created" for name in TOPICS}
        assert bus.ensure_topics() == {prefix + name: "kept" for name in TOPICS}
    warned = [record.message for record in caplog.records if record.name == "thumbwheel.bus.kafka"]
    assert len(warned) == 2
    assert "one broker" in warned[0]


def test_topics_have_the_settings_that_durability_rests_on(broker: Broker, prefix: str) -> None:
    import kafka

    with KafkaBus(broker.bootstrap, options=broker.options, topic_prefix=prefix) as bus:
        bus.ensure_topics()
    admin = kafka.KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        found = {topic["name"]: topic for topic in admin.describe_topics([prefix + name for name in TOPICS])}
        assert {name: len(topic["partitions"]) for name, topic in found.items()} == {
            prefix + topic.name: topic.partitions for topic in TOPICS.values()
        }
        for topic, policy in ((FEEDBACK, "delete"), (POLICIES, "compact")):
            settings = settings_of(admin, prefix + topic.name)
            assert settings["cleanup.policy"] == policy
            assert settings["retention.ms"] == "-1"
            assert settings["unclean.leader.election.enable"] == "false"
            assert settings["max.message.bytes"] == str(MAX_MESSAGE_BYTES)
    finally:
        admin.close()


def settings_of(admin: object, topic: str) -> dict[str, str]:
    from kafka.admin import ConfigResource, ConfigResourceType

    described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])  # type: ignore[attr-defined]
    (found,) = described["topic"].values() if isinstance(described, dict) else described
    return {name: str(entry["value"]) for name, entry in found.items()}


def test_a_topic_with_other_partitions_is_reported_and_left_alone(broker: Broker, prefix: str) -> None:
    import kafka

    admin = kafka.KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics({prefix + FEEDBACK.name: {"num_partitions": 2, "replication_factor": 1}})
    admin.close()
    with KafkaBus(broker.bootstrap, topic_prefix=prefix) as bus:
        assert bus.ensure_topics()[prefix + FEEDBACK.name] == f"has 2 partitions, needs {FEEDBACK.partitions}"


def test_the_command_makes_them(
    broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THUMBWHEEL_KAFKA_TOPIC_PREFIX", prefix)
    assert main(["topics", "--kafka-bootstrap", broker.bootstrap]) == 0
    assert capsys.readouterr().out.count("created") == len(TOPICS)
    assert main(["topics", "--kafka-bootstrap", broker.bootstrap]) == 0
    assert capsys.readouterr().out.count("kept") == len(TOPICS)


def test_a_key_is_where_our_hash_says_and_carries_its_event_id(broker: Broker, prefix: str) -> None:
    import kafka

    from thumbwheel.bus import NewRecord

    with KafkaBus(broker.bootstrap, topic_prefix=prefix) as bus:
        bus.ensure_topics()
        bus.append([NewRecord(FEEDBACK.name, "ann", "ev-1", b"value")])
    at = kafka.TopicPartition(prefix + FEEDBACK.name, partition_of("ann", FEEDBACK.partitions))
    reader = kafka.KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", group_id=None)
    try:
        reader.assign([at])
        (record,) = reader.poll(timeout_ms=10_000)[at]
    finally:
        reader.close()
    assert (record.key, record.value, record.headers) == (b"ann", b"value", [("event_id", b"ev-1")])


def test_what_others_wrote_is_read_whatever_it_is(broker: Broker, prefix: str) -> None:
    import kafka

    from thumbwheel.bus import NewRecord, key_bytes

    odd = [(b"\xff key", b"value"), (b"deleted", None), (None, b"value")]
    with KafkaBus(broker.bootstrap, topic_prefix=prefix) as bus:
        bus.ensure_topics()
        foreign = kafka.KafkaProducer(bootstrap_servers=broker.bootstrap)
        for key, value in odd:
            foreign.send(prefix + CONTROL.name, key=key, value=value).get(10)
        foreign.close()
        got = [(key_bytes(record.key), record.value) for record in read_whole(bus, CONTROL.name)]
        assert got == [(key or b"", value or b"") for key, value in odd]
        bus.append([NewRecord(CONTROL.name, "\udcff key", "ev-2", b"again")])
        assert key_bytes(read_whole(bus, CONTROL.name)[-1].key) == b"\xff key"
