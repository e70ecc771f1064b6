"""Runs the application under uvicorn until told to stop; chats under way are finished first."""

import logging

import uvicorn

from thumbwheel_service.app import create_app
from thumbwheel_service.settings import Settings


def run(settings: Settings) -> int:
    """Serve; returns the process's exit status. Raises `ConfigurationError` before anything listens."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http="httptools",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(settings.limits.drain_seconds),
        )
    )
    server.run()
    return 0 if server.started else 1
