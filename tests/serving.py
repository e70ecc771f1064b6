"""The real application in this process, started and stopped as uvicorn would, behind an httpx client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from litestar import Litestar
from tests.fakes import IdleEngine

from thumbwheel_service.app import create_app
from thumbwheel_service.settings import Settings


@asynccontextmanager
async def serving(
    app: Litestar, *, key: str | None = None, peer: str = "127.0.0.1", base_url: str = "http://127.0.0.1:8000"
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the running application, calling from `peer`."""
    async with alive(app), client(app, key=key, peer=peer, base_url=base_url) as http:
        yield http


@asynccontextmanager
async def alive(app: Litestar) -> AsyncIterator[None]:
    """Start and stop the application in a task of its own, as its lifespan must end in the task it began in."""
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await stop.wait()

    life = asyncio.create_task(live())
    starting = asyncio.create_task(started.wait())
    await asyncio.wait([life, starting], return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()
    if life.done():
        await life
    try:
        yield
    finally:
        stop.set()
        await life


def client(
    app: Litestar, *, key: str | None = None, peer: str = "127.0.0.1", base_url: str = "http://127.0.0.1:8000"
) -> httpx.AsyncClient:
    """One more client of an application that is running already."""
    transport = httpx.ASGITransport(app, client=(peer, 50_000), raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=transport, base_url=base_url, headers=headers)


def idle_app(data: Path, **settings: object) -> Litestar:
    """The service over an engine that answers nothing."""
    return create_app(Settings(data=data, **settings), IdleEngine())  # pyright: ignore[reportArgumentType]


def admin_key(data: Path) -> str:
    """What the first start wrote."""
    return (data / "admin.key").read_text().strip()
