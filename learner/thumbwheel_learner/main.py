"""The learner process: the one place where its parts are put together."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from thumbwheel.artifact import base_fingerprint, signing_key
from thumbwheel.bus import EventBus
from thumbwheel.bus.connect import connect_bus
from thumbwheel.events import ERASURES
from thumbwheel_learner.announce import Announcer
from thumbwheel_learner.consume import Consumer, Stored, Trouble
from thumbwheel_learner.dataset.forget import Forgetter
from thumbwheel_learner.dataset.keys import ServiceKeys
from thumbwheel_learner.lock import exclusive
from thumbwheel_learner.metrics import Metrics
from thumbwheel_learner.model.base import resolve_base
from thumbwheel_learner.processes import be_polite, lead_or_follow, loaded_once
from thumbwheel_learner.questions.board import QuestionBoard
from thumbwheel_learner.rollouts.served import ServiceRollouts, service_http
from thumbwheel_learner.runs.live import live_parent
from thumbwheel_learner.runs.publish import Publisher
from thumbwheel_learner.runs.run import FOLDER, Runner, RunPlan, Stopped
from thumbwheel_learner.runs.schedule import Schedule, Triggers
from thumbwheel_learner.settings import Settings
from thumbwheel_learner.status import StatusReporter
from thumbwheel_learner.store.runs import unfinished_runs
from thumbwheel_learner.store.session import connect, migrate
from thumbwheel_learner.woken import Woken

if TYPE_CHECKING:
    from thumbwheel_learner.distributed.crew import Crew
    from thumbwheel_learner.model.policy import PolicyModel
    from thumbwheel_learner.runs.stage import Stage

log = logging.getLogger(__name__)
StageMaker = Callable[["Parts"], Mapping[str, "Stage"]]


def run(settings: Settings) -> int:
    """Learn until SIGTERM or SIGINT; what is under way then goes on at the next start.

    Under torchrun the first process learns and the others train beside it. Raises `AlreadyRunning`,
    `ConfigurationError`, `distributed.world.GroupBroken`.
    """
    stop = threading.Event()

    def lead(crew: "Crew | None") -> int:
        with exclusive(settings.data):
            key = _wait_for_key(settings, stop)
            if key is None:
                return 0
            if crew is None:
                be_polite()
            with Parts(settings, key, stop) as parts:
                parts.learn(lambda parts: _real_stages(parts, crew))
        log.info("the learner has stopped")
        return 0

    with _stopping(stop):
        return lead_or_follow(settings, stop, lead)


class Parts:
    """What one learner is made of, from settings; closed in reverse order."""

    def __init__(
        self, settings: Settings, admin_key: str, stop: threading.Event, *, bus: EventBus | None = None
    ) -> None:
        """`bus` stands in for the one that the settings name. Raises `ConfigurationError`."""
        self.settings = settings
        self.admin_key = admin_key
        self.stop = stop
        self.base = resolve_base(settings.model)
        self.fingerprint = base_fingerprint(self.base)
        self.key = signing_key(settings.signing_key_file)
        settings.artifacts.mkdir(parents=True, exist_ok=True)
        self.metrics = Metrics()
        self.engine: Engine = connect(settings.database_url)
        migrate(self.engine)
        self.bus = bus or connect_bus(
            settings.bus,
            url=settings.url,
            api_key=admin_key,
            bootstrap=settings.kafka_bootstrap,
            kafka_options=settings.kafka_options,
            client_id="thumbwheel-learner",
        )
        self.reporter = StatusReporter(self.engine, self.bus, reads=settings.bus)
        self.publisher = Publisher(
            self.engine, self.bus, store=settings.artifacts, key=self.key, promote=settings.promote
        )
        self.announcing = Woken(
            Announcer(self.engine, self.bus).announce, "dead letters wait to be announced, they are kept"
        )
        self.forgetting = Woken(
            Forgetter(self.engine, self.bus, runs=settings.data / FOLDER, data=settings.data).apply,
            "an erasure is not seen through yet",
        )
        self.telling = Woken(QuestionBoard(self.engine, self.bus).apply, "questions to people wait to be told")
        self.http = service_http(settings.url, admin_key)
        self.keys = ServiceKeys(self.http)
        self.consumer = Consumer(
            self.engine,
            self.bus,
            on_stored=self._stored,
            on_trouble=self._trouble,
            newer_schema=settings.newer_schema,
        )

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.bus.close()
        self.engine.dispose()

    def learn(self, make_stages: StageMaker) -> None:
        """Consume, schedule and report until `stop` is set."""
        settings = self.settings
        beside = {"announce": self.announcing, "forget": self.forgetting, "questions": self.telling}
        working = [
            threading.Thread(target=part.run, args=(self.stop,), name=name)
            for name, part in {"consume": self.consumer, **beside}.items()
        ]
        schedule: Schedule | None = None
        with self.metrics.serve(settings.metrics_port):
            for thread in working:
                thread.start()
            try:
                schedule = self._schedule(make_stages(self))
                self._tidy()
                schedule.start()
                log.info("learning from %s for %s, state in %s", settings.bus, self.base, settings.data)
                self.stop.wait()
            finally:
                self.stop.set()
                if schedule is not None:
                    schedule.stop()
                for part in beside.values():
                    part.wake()
                for thread in working:
                    thread.join()
                self.reporter.resting("stopped", "stopped")
                self.reporter.send(force=True)

    def progress(self, stage: str, share: float, detail: str) -> None:
        """What training calls as it gets on; raises `Stopped` when somebody wants the learner to end."""
        self.check()
        self.reporter.training(stage, share, detail)
        self.metrics.progress(stage, share)

    def check(self) -> None:
        """Raises `Stopped` when somebody wants the learner to end."""
        if self.stop.is_set():
            raise Stopped("told to stop")

    def _schedule(self, stages: Mapping[str, "Stage"]) -> Schedule:
        settings, training = self.settings, self.settings.training
        plan = RunPlan(
            data=settings.data,
            base=self.fingerprint,
            min_labels=training.min_labels,
            max_prompts=training.max_prompts,
            keys=self.keys,
        )
        live = live_parent(self.engine, settings.artifacts, self.key)
        return Schedule(
            self.engine,
            Runner(self.engine, plan, stages, live=live, progress=self.progress),
            Triggers(
                stages=training.stages,
                every_s=settings.learn_every_s,
                after_labels=settings.learn_after_labels,
                min_labels=training.min_labels,
            ),
            reporter=self.reporter,
            metrics=self.metrics,
            report_every_s=settings.report_every_s,
            waits_for_route=settings.promote == "auto",
            caught_up_ms=lambda: self.consumer.caught_up_ms,
        )

    def _tidy(self) -> None:
        """Finish or remove what a crash left in the artifact store; a bus that is away makes no difference."""
        running = [run.run_id for run in unfinished_runs(self.engine)]
        while not self.stop.is_set():
            try:
                for version in self.publisher.recover(running):
                    log.info("%s had been written before a crash and is announced now", version)
                return
            except Exception as error:  # whatever it is, learning must not begin on an untidy store
                log.warning("the artifact store cannot be tidied yet: %s", error)
                self.stop.wait(2.0)

    def _stored(self, stored: Stored) -> None:
        self.metrics.stored(stored)
        if stored.dead_letters:
            self.announcing.wake()
        if stored.records.get(ERASURES.name):
            self.forgetting.wake()
            self.telling.wake()

    def _trouble(self, trouble: Trouble | None) -> None:
        self.metrics.trouble(trouble)
        self.reporter.trouble(f"{trouble.kind}: {trouble.detail}" if trouble else "")


def _real_stages(parts: Parts, crew: "Crew | None") -> Mapping[str, "Stage"]:
    """The algorithms on the real model, with rollouts on the serving engine; without a crew in this process alone."""
    from thumbwheel_learner.distributed.crew import Crew
    from thumbwheel_learner.runs.plan import asking_of, labelling_of, recipe_of
    from thumbwheel_learner.runs.stages import Workshop

    settings = parts.settings
    http = service_http(settings.url, parts.admin_key)
    crew = crew or Crew()

    def rollouts(_: "PolicyModel") -> contextlib.closing[ServiceRollouts]:
        engine = ServiceRollouts(
            http,
            store=settings.artifacts,
            key=parts.key,
            base_model=parts.fingerprint,
            check=parts.check,
            on_wait=lambda reason: parts.progress("waiting", 0.0, reason),
        )
        engine.clean()
        return contextlib.closing(engine)

    return Workshop(
        engine=parts.engine,
        data=settings.data,
        base=parts.fingerprint,
        model=loaded_once(settings, crew),
        crew=crew,
        rollouts=rollouts,
        publisher=parts.publisher,
        recipe=recipe_of(settings.training),
        labelling=labelling_of(settings.labeler, parts.engine, settings.data, parts.keys),
        asking=asking_of(settings.questions, parts.engine, parts.keys, wake=parts.telling.wake),
    ).stages()


def _wait_for_key(settings: Settings, stop: threading.Event) -> str | None:
    """The admin key, which the service's first start writes; None when told to stop before there is one."""
    said = False
    while not stop.is_set():
        key = settings.admin_key()
        if key is not None:
            return key
        if not said:
            log.info("waiting for the service's first start to write %s", settings.admin_key_file)
            said = True
        stop.wait(0.5)
    return None


@contextlib.contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop`; a second one ends the process at once (a resumable run loses nothing)."""

    def ask(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        log.info("stopping after the current step")
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
