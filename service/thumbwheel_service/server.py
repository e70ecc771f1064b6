"""Runs the application under uvicorn until told to stop; chats under way are finished first."""

import gc
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import uvicorn

from thumbwheel.demo_policy import default_model
from thumbwheel.errors import ConfigurationError
from thumbwheel_service.app import create_app
from thumbwheel_service.engine.checkpoint import resolve_checkpoint
from thumbwheel_service.engine.options import EngineOptions
from thumbwheel_service.engine.protocol import PolicyEngine
from thumbwheel_service.settings import BadSetting, Settings

UVICORN: dict[str, Any] = {
    "loop": "uvloop",
    "http": "httptools",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "timeout_keep_alive": 75,
}
"""Idle connections are kept for longer than any client does: who closes first may meet the other's next request."""


_SWITCH_SECONDS = 0.0005
"""How long the event loop may keep the interpreter from the writer, which asks for it after every statement.

With Python's 5 ms a group of writes beside a busy loop takes a tenth of a second longer.
"""
_YOUNG_OBJECTS = 10_000
"""Until the garbage collector looks for cycles among new objects: most are gone by then, 700 of them not yet."""


class CannotListen(ConfigurationError):
    """The address is taken, or not this machine's."""


class _Server(uvicorn.Server):
    """Tells the application before it waits for open requests: long polls end at once, chats go on."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """What is there by now stays to the end: the garbage collector need not stop requests to look at it again."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS, 20, 20)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app: Any = self.config.app
        app.state.stopping()
        await super().shutdown(sockets)


def run(settings: Settings, make_engine: Callable[[Settings], PolicyEngine] | None = None) -> int:
    """Serve; returns the process's exit status. Raises `ConfigurationError` before anything is loaded or listens.

    `make_engine` is for engines other than vLLM.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sys.setswitchinterval(_SWITCH_SECONDS)
    listening = bind(settings)
    config = uvicorn.Config(
        create_app(settings, (make_engine or build_engine)(settings)),
        **UVICORN,
        lifespan="on",
        timeout_graceful_shutdown=int(settings.limits.drain_seconds),
    )
    server = _Server(config)
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
    return 0 if server.started else 1


def bind(settings: Settings) -> socket.socket:
    """Take the address before a model is loaded for nothing; raises `CannotListen`."""
    listening: socket.socket | None = None
    try:
        found = socket.getaddrinfo(
            settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        if listening is not None:
            listening.close()
        raise CannotListen(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}); "
            "name another with --port or THUMBWHEEL_PORT"
        ) from error
    return listening


def build_engine(settings: Settings) -> PolicyEngine:
    """vLLM by the settings; nothing is loaded yet. Raises `BadSetting`, `ModelNotFound`."""
    from thumbwheel_service.engine.vllm import VllmEngine

    model = settings.model or default_model()
    if model is None:
        raise BadSetting("no model: set THUMBWHEEL_MODEL (or --model) to a local folder or a hub id")
    try:
        options = msgspec.convert({**settings.engine_options, "model": model}, EngineOptions, strict=False)
    except msgspec.ValidationError as error:
        raise BadSetting(f"THUMBWHEEL_ENGINE_*: {error}") from error
    resolve_checkpoint(model)
    return VllmEngine(options)
