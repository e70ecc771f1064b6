"""The composition root: the only place that reads settings and knows every part."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from sqlalchemy import Engine
from sqlmodel import Session

import thumbwheel
from thumbwheel.artifact import signing_key
from thumbwheel.events import POLICIES
from thumbwheel_service import idempotency, openapi
from thumbwheel_service.admin.service import LearnerCommands
from thumbwheel_service.auth import keys
from thumbwheel_service.auth.service import KeyAuthenticator, refuse_open_door
from thumbwheel_service.background import Job, running
from thumbwheel_service.chat.losses import lose_earlier
from thumbwheel_service.chat.presence import Presence
from thumbwheel_service.chat.recorder import TurnRecorder
from thumbwheel_service.chat.service import ChatService
from thumbwheel_service.core import Core, make_core, make_redactor
from thumbwheel_service.db.checkpoint import Checkpointer
from thumbwheel_service.db.migrate import open_database
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.docs_page import DocsPage
from thumbwheel_service.engine.protocol import PolicyEngine
from thumbwheel_service.erasure.follower import follow_erasures
from thumbwheel_service.feedback.service import FeedbackService
from thumbwheel_service.http import EXCEPTION_HANDLERS
from thumbwheel_service.log.relay import relay_lag
from thumbwheel_service.log.retention import Retention, retention_of
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.policies.artifacts import ArtifactShelf
from thumbwheel_service.policies.candidates import CandidateService
from thumbwheel_service.policies.follower import PolicyFollower
from thumbwheel_service.policies.loaded import LoadedVersions
from thumbwheel_service.policies.router import Router
from thumbwheel_service.policies.service import PolicyService
from thumbwheel_service.requests import RequestStamp
from thumbwheel_service.reviews.follower import follow_reviews
from thumbwheel_service.reviews.service import ReviewService
from thumbwheel_service.routers import routers
from thumbwheel_service.settings import Settings
from thumbwheel_service.status.learner import LearnerView
from thumbwheel_service.status.letters import DeadLetterView
from thumbwheel_service.status.service import StatusService
from thumbwheel_service.turns.service import TurnService

_PURGE_SECONDS = 3600.0
_LAG_SECONDS = 10.0
_LEASES = 3
"""So many leases long a process may be quiet before its chats are given up, which cannot be taken back."""


class Answering(NamedTuple):
    """Chat, and the policies that answer."""

    engine: PolicyEngine
    chats: ChatService
    policies: PolicyService
    candidates: CandidateService
    follower: PolicyFollower
    presence: Presence


class Watching(NamedTuple):
    """What the learner says, and the log that is pruned by it."""

    learner: LearnerView
    letters: DeadLetterView
    retention: Retention


def create_app(settings: Settings, engine: PolicyEngine) -> Litestar:
    """The service as a Litestar application over `engine`, which it starts and stops.

    Opens and migrates the database and writes the admin key on the first start. Raises `ConfigurationError`.
    """
    redactor = make_redactor(settings)
    settings.data.mkdir(parents=True, exist_ok=True)
    database = open_database(settings.database_url)
    _admit(database, settings)
    core = make_core(settings, database, redactor)
    answering = _answering(settings, core, engine)
    watching = _watching(settings, core)
    reviews = ReviewService(core.writer, core.reader, core.metrics, core.redactor)
    services = _services(settings, core, answering, watching) | {"review_service": reviews}
    jobs = _jobs(core, answering, watching)
    jobs["reviews"] = functools.partial(follow_reviews, core.follower, reviews, core.metrics)
    app = Litestar(
        route_handlers=routers(settings.limits, KeyAuthenticator(core.reader)),
        dependencies={name: Provide(_always(service), sync_to_thread=False) for name, service in services.items()},
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lambda _: _alive(core, answering, jobs, drain_seconds=settings.limits.drain_seconds)],
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Thumbwheel",
            version=thumbwheel.__version__,
            path="/docs",
            render_plugins=[DocsPage()],
            use_handler_docstrings=True,
        ),
    )
    openapi.add_components(app.openapi_schema)
    app.state.stopping = core.log.stop
    app.asgi_handler = RequestStamp(app.asgi_handler, core.metrics)
    return app


@asynccontextmanager
async def _alive(
    core: Core, answering: Answering, jobs: Mapping[str, Job], *, drain_seconds: float
) -> AsyncIterator[None]:
    """From the start of the service to its end; everything is stopped in the reverse order."""
    async with AsyncExitStack() as stack:
        stack.callback(core.key_store.close)
        stack.callback(core.key_thread.close)
        stack.callback(core.database.dispose)
        stack.callback(Checkpointer(core.database).close)
        stack.callback(core.reader.close)
        stack.push_async_callback(asyncio.to_thread, core.writer.close)
        await core.erasures.reconcile()
        await core.age.begin()
        core.metrics.lost_turns.inc(await lose_earlier(core.writer, core.owner))
        stack.push_async_callback(answering.engine.stop)
        await answering.engine.start()
        await answering.policies.restore()
        stack.push_async_callback(answering.policies.close)
        stack.push_async_callback(answering.presence.leave)
        if core.bus is not None:
            stack.push_async_callback(asyncio.to_thread, core.bus.close)
        await stack.enter_async_context(running(jobs))
        stack.push_async_callback(answering.chats.drain, drain_seconds)
        yield


def _answering(settings: Settings, core: Core, engine: PolicyEngine) -> Answering:
    """Adapters are copied to a folder of this process alone, below `DATA`."""
    router = Router(settings.model_alias)
    shelf = ArtifactShelf(
        settings.artifacts,
        settings.data / "adapters" / core.owner.replica,
        signing_key(settings.signing_key_file),
        reserved=frozenset({settings.model_alias}),
    )
    loaded = LoadedVersions(engine, router, shelf, core.writer, core.reader, core.owner)
    policies = PolicyService(
        router, loaded, core.writer, core.reader, core.metrics, core.owner, promote=settings.promote
    )
    recorder = TurnRecorder(core.writer, core.metrics, core.redactor, owner=str(core.owner))
    chats = ChatService(engine, router, recorder, core.metrics, limit=settings.limits.chats_in_flight)
    follower = PolicyFollower(policies, lambda: core.follower.follow(POLICIES.name), core.metrics)
    presence = Presence(core.writer, core.owner, core.metrics, lease_seconds=_LEASES * settings.lease_seconds)
    return Answering(engine, chats, policies, CandidateService(engine, shelf, policies), follower, presence)


def _watching(settings: Settings, core: Core) -> Watching:
    learner = LearnerView(core.follower, core.metrics, silent_seconds=settings.learner_silent_seconds)
    told = functools.partial(learner.stored, settings.bus)
    retention = retention_of(core.writer, core.reader, core.bus, told, keep_days=settings.keep_days)
    retention.observe(core.metrics.log_looked_at)
    return Watching(learner, DeadLetterView(core.follower, core.metrics), retention)


def _services(settings: Settings, core: Core, answering: Answering, watching: Watching) -> dict[str, Any]:
    """By the names under which routes ask for them."""
    status = StatusService(
        core.writer,
        core.reader,
        answering.engine,
        watching.learner,
        watching.letters,
        alias=settings.model_alias,
        bus=settings.bus,
        chats_in_flight=lambda: answering.chats.in_flight,
        log=watching.retention.figures,
    )
    return {
        "chat_service": answering.chats,
        "policy_service": answering.policies,
        "candidate_service": answering.candidates,
        "feedback_service": FeedbackService(core.writer, core.reader, core.metrics, core.redactor),
        "turn_service": TurnService(core.writer, core.reader, core.redactor),
        "erasure_service": core.erasures,
        "log_service": core.log,
        "learner_commands": LearnerCommands(core.writer),
        "status_service": status,
        "metrics": core.metrics,
    }


def _jobs(core: Core, answering: Answering, watching: Watching) -> dict[str, Job]:
    """What goes on in the background."""
    jobs: dict[str, Job] = {
        "learner": watching.learner.run,
        "dead letters": watching.letters.run,
        "purge": functools.partial(_purge, core.writer),
        "policies": answering.follower.run,
        "candidates": answering.candidates.watch_idle,
        "presence": answering.presence.run,
        "log": watching.retention.run,
        "erasures": core.erasures.run,
        "retention": core.age.run,
        "erasures heard": functools.partial(follow_erasures, core.follower, core.erasures, core.metrics),
    }
    for lane, relay in enumerate(core.relays):
        jobs[f"relay {lane}"] = relay.run
    if core.relays:
        jobs["relay lag"] = functools.partial(_measure_lag, core.reader, core.metrics)
    return jobs


def _admit(database: Engine, settings: Settings) -> None:
    """Make the admin key known; raises `NeedsKey` when strangers could reach a service without chat keys."""
    admin_key = keys.admin_key(settings.data / "admin.key")
    with (
        database.connect().execution_options(writes=True) as connection,
        Session(connection, expire_on_commit=False) as session,
        session.begin(),
    ):
        keys.ensure_admin(session, admin_key)
        rows = keys.all_keys(session)
    refuse_open_door(rows, settings.host, is_loopback_host=settings.is_loopback)


async def _measure_lag(reader: Reader, metrics: Metrics) -> None:
    """How far Kafka is behind the log, for the metrics."""
    while True:
        metrics.relay_lag.set(await reader.run(relay_lag))
        await asyncio.sleep(_LAG_SECONDS)


async def _purge(writer: Writer) -> None:
    """Forget expired idempotency keys, now and every hour."""
    while True:
        await writer.run(idempotency.purge)
        await asyncio.sleep(_PURGE_SECONDS)


def _always(service: Any) -> Callable[[], Any]:
    def provide() -> Any:
        return service

    return provide
