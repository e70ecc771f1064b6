import socket

import httpx

from thumbwheel.bus import TopicPartition
from thumbwheel_learner.consume import Stored, Trouble
from thumbwheel_learner.metrics import Metrics


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_scrape_on_loopback_shows_what_was_stored_and_how_far_training_is() -> None:
    metrics, port = Metrics(), free_port()
    metrics.stored(
        Stored({"thumbwheel.turns": 3}, {"thumbwheel.feedback": 1}, {TopicPartition("thumbwheel.turns", 2): 7})
    )
    metrics.trouble(Trouble("bus_unavailable", "gone"))
    metrics.trouble(None)
    metrics.progress("sft", 1.0)
    metrics.progress("ppo", 0.25)
    metrics.progress("waiting", 0.5)
    with metrics.serve(port):
        page = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    for line in (
        'thumbwheel_learner_records_total{topic="thumbwheel.turns"} 3.0',
        'thumbwheel_learner_dead_letters_total{topic="thumbwheel.feedback"} 1.0',
        'thumbwheel_learner_stored_offset{partition="2",topic="thumbwheel.turns"} 7.0',
        'thumbwheel_learner_troubles_total{kind="bus_unavailable"} 1.0',
        'thumbwheel_learner_stage_progress{stage="sft"} 1.0',
        'thumbwheel_learner_stage_progress{stage="ppo"} 0.25',
        'thumbwheel_learner_stage_progress{stage="gate"} 0.0',
    ):
        assert line in page


def test_nothing_listens_unless_a_port_is_set() -> None:
    with Metrics().serve(0):
        pass
