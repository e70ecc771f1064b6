"""Which adapter answers a chat, held in memory so that routing costs nothing: changed only by `PolicyService`."""

import asyncio
from typing import Self

from thumbwheel_service.engine.protocol import BASE
from thumbwheel_service.errors import Missing


class UnknownModel(Missing):
    """No such model is served under a public name."""

    code = "model_not_found"


class Served:
    """A version that is loaded: its public name, its name in the engine, and how many chats it is answering."""

    def __init__(self, version: str, engine_name: str) -> None:
        self.version = version
        self.engine_name = engine_name
        self.in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def drained(self) -> None:
        """Return when no chat is being answered by this version."""
        while self.in_flight:
            await self._idle.wait()

    def take(self) -> None:
        """One more chat."""
        self.in_flight += 1
        self._idle.clear()

    def give_back(self) -> None:
        """One chat less."""
        self.in_flight -= 1
        if self.in_flight == 0:
            self._idle.set()


class Lease:
    """A chat's hold on its version: while it lasts the version stays loaded. Released once, however often asked."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._held = True
        served.take()

    def release(self) -> None:
        """Let go."""
        if self._held:
            self._held = False
            self.served.give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Router:
    """The live route and the public versions. `base` is always there."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.base = Served(BASE, BASE)
        self._live = self.base
        self._public: dict[str, Served] = {BASE: self.base}

    @property
    def live(self) -> Served:
        """The version that answers when nobody pins one."""
        return self._live

    def lease(self, model: str | None) -> Lease:
        """Hold the version that `model` (the alias, a public version, or nothing) means; raises `UnknownModel`."""
        if model is None or model == self.alias:
            return Lease(self._live)
        served = self._public.get(model)
        if served is None:
            raise UnknownModel(f"the model {model!r} does not exist; see /v1/models", field="model")
        return Lease(served)

    def route(self, served: Served) -> None:
        """Make a version live, and public; chats under way keep theirs."""
        self._public[served.version] = served
        self._live = served

    def publish(self, served: Served) -> None:
        """Let callers pin a version."""
        self._public[served.version] = served

    def withdraw(self, version: str) -> Served | None:
        """Take a version that is not live from the public list; chats under way keep it."""
        if version in (BASE, self._live.version):
            return None
        return self._public.pop(version, None)

    def public(self) -> list[Served]:
        """Versions that can be pinned."""
        return list(self._public.values())
