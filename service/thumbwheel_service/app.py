"""The composition root: the only place that reads settings and knows every part."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.types import ControllerRouterHandler
from sqlmodel import Session

import thumbwheel
from thumbwheel.bus import EventBus
from thumbwheel.events import new_id
from thumbwheel_service import idempotency, openapi
from thumbwheel_service.admin import routes as admin_routes
from thumbwheel_service.admin.service import LearnerCommands
from thumbwheel_service.auth import keys
from thumbwheel_service.auth.guard import require
from thumbwheel_service.auth.service import KeyAuthenticator, refuse_open_door
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.migrate import migrate
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.engine.protocol import PolicyEngine
from thumbwheel_service.feedback import routes as feedback_routes
from thumbwheel_service.feedback.service import FeedbackService
from thumbwheel_service.http import EXCEPTION_HANDLERS
from thumbwheel_service.log import routes as log_routes
from thumbwheel_service.log.follow import BusFollower, Follower, LogFollower
from thumbwheel_service.log.relay import Relay
from thumbwheel_service.log.service import LogService
from thumbwheel_service.log.signal import LogSignal
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.requests import RequestStamp
from thumbwheel_service.settings import Settings
from thumbwheel_service.status import routes as status_routes
from thumbwheel_service.status.learner import LearnerView
from thumbwheel_service.status.service import StatusService
from thumbwheel_service.turns import routes as turn_routes
from thumbwheel_service.turns.service import TurnService

_log = logging.getLogger(__name__)
_PURGE_SECONDS = 3600.0


class Core(NamedTuple):
    """What every part stands on."""

    writer: Writer
    reader: Reader
    log: LogService
    follower: Follower
    metrics: Metrics
    bus: EventBus | None
    """Kafka, or None when the log table is the bus."""
    relay: Relay | None
    replica: str
    boot: str
    """`<replica>/<boot>` is the owner of the turns that this process generates."""


def create_app(settings: Settings, engine: PolicyEngine) -> Litestar:
    """The service as a Litestar application over `engine`, which it starts and stops.

    Opens and migrates the database and writes the admin key on the first start. Raises `ConfigurationError`.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    database = connect(settings.database_url)
    migrate(database)
    core = _core(settings, Writer(database, capacity=settings.limits.writes_waiting), Reader(database))
    admin_key = keys.admin_key(settings.data / "admin.key")

    turns = TurnService(core.writer, core.reader)
    learner = LearnerView(core.follower, silent_seconds=settings.learner_silent_seconds)
    status = StatusService(
        core.reader, engine, learner, alias=settings.model_alias, bus=settings.bus, chats_in_flight=lambda: 0
    )
    services: dict[str, Any] = {
        "feedback_service": FeedbackService(core.writer, core.reader),
        "turn_service": turns,
        "log_service": core.log,
        "learner_commands": LearnerCommands(core.writer),
        "status_service": status,
        "metrics": core.metrics,
    }

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(database.dispose)
            stack.callback(core.reader.close)
            stack.push_async_callback(asyncio.to_thread, core.writer.close)
            await _admit(core, settings, admin_key)
            lost = await turns.mark_lost(core.replica, core.boot)
            core.metrics.lost_turns.inc(lost)
            stack.push_async_callback(engine.stop)
            await engine.start()
            await _keep_running(stack, core, learner)
            yield

    app = Litestar(
        route_handlers=_routers(settings, KeyAuthenticator(core.reader)),
        dependencies={name: Provide(_always(service), sync_to_thread=False) for name, service in services.items()},
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lifespan],
        logging_config=None,
        openapi_config=OpenAPIConfig(title="Thumbwheel", version=thumbwheel.__version__, path="/docs"),
    )
    openapi.add_components(app.openapi_schema)
    app.state.stopping = core.log.stop
    app.asgi_handler = RequestStamp(app.asgi_handler, core.metrics)
    return app


def _core(settings: Settings, writer: Writer, reader: Reader) -> Core:
    signal, metrics = LogSignal(), Metrics()
    writer.on_commit(signal.committed)
    writer.observe(metrics.committed)
    metrics.watch_writer(lambda: writer.depth)
    log = LogService(writer, reader, signal)
    bus = relay = None
    follower: Follower = LogFollower(log)
    if settings.bus == "kafka":
        bus = _kafka(settings)
        follower = BusFollower(bus)
        relay = Relay(bus, writer, reader, signal)
        relay.observe(metrics.relay_attempted)
    return Core(writer, reader, log, follower, metrics, bus, relay, settings.replica, new_id("boot"))


def _kafka(settings: Settings) -> EventBus:
    from thumbwheel.bus.connect import connect_bus

    return connect_bus("kafka", bootstrap=settings.kafka_bootstrap, kafka_options=settings.kafka_options)


def _routers(settings: Settings, authenticator: KeyAuthenticator) -> list[ControllerRouterHandler]:
    """Routes by who may call them and how much they may send."""
    limits = settings.limits
    chat, admin = [require(authenticator, "chat")], [require(authenticator, "admin")]
    callers = [*feedback_routes.HANDLERS, *turn_routes.HANDLERS, *status_routes.HANDLERS]
    return [
        Router("/", route_handlers=status_routes.PUBLIC_HANDLERS),
        Router("/", route_handlers=callers, guards=chat, request_max_body_size=limits.body_bytes),
        Router("/", route_handlers=admin_routes.HANDLERS, guards=admin, request_max_body_size=limits.body_bytes),
        Router("/", route_handlers=log_routes.HANDLERS, guards=admin, request_max_body_size=limits.internal_body_bytes),
    ]


async def _admit(core: Core, settings: Settings, admin_key: keys.ApiKey) -> None:
    """Make the admin key known; raises `NeedsKey` when strangers could reach a service without chat keys."""

    def work(session: Session) -> list[keys.ApiKeyRow]:
        keys.ensure_admin(session, admin_key)
        return keys.all_keys(session)

    rows = await core.writer.run(work)
    refuse_open_door(rows, settings.host, is_loopback_host=settings.is_loopback)


async def _keep_running(stack: AsyncExitStack, core: Core, learner: LearnerView) -> None:
    """Background tasks, stopped in the reverse order; one that fails says so and is started again."""
    jobs: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
        "learner": learner.run,
        "purge": lambda: _purge(core),
    }
    if core.relay is not None and core.bus is not None:
        stack.push_async_callback(asyncio.to_thread, core.bus.close)
        jobs["relay"] = core.relay.run
    for name, job in jobs.items():
        task = asyncio.create_task(_again(name, job), name=name)
        stack.push_async_callback(_stop, task)


async def _again(name: str, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        try:
            await job()
        except Exception:
            _log.exception("the background task %s failed; it starts again", name)
        await asyncio.sleep(1.0)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _purge(core: Core) -> None:
    """Forget expired idempotency keys, now and every hour."""
    while True:
        await core.writer.run(idempotency.purge)
        await asyncio.sleep(_PURGE_SECONDS)


def _always(service: Any) -> Callable[[], Any]:
    def provide() -> Any:
        return service

    return provide
