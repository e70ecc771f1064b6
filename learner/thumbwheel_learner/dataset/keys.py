"""The keys of sealed events: asked of the service when they are needed, kept in memory only."""

from collections.abc import Collection
from typing import Protocol

import httpx
import msgspec

from thumbwheel.box import Secrets
from thumbwheel.internal import MSGPACK, Keys, KeysWanted
from thumbwheel.retry import error_of
from thumbwheel_learner.errors import LearnerError

_MOST = 10_000
_SECONDS = 60.0


class KeysAway(LearnerError):
    """The service does not hand out keys just now; what is sealed has to wait."""


class KeySource(Protocol):
    """Where keys come from."""

    def get(self, ids: Collection[str]) -> Secrets:
        """Those of the keys that there are; the others were destroyed. Raises `KeysAway`."""
        ...


class NoKeys:
    """For stores in which nothing is sealed; what is counts as erased."""

    def get(self, ids: Collection[str]) -> Secrets:
        """None."""
        return {}


def ask(source: KeySource, ids: Collection[str]) -> Secrets:
    """The keys, without asking anybody where there is nothing to ask for."""
    return source.get(ids) if ids else {}


class ServiceKeys:
    """Asks the service's internal endpoint; `http` carries its URL and the admin key."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def get(self, ids: Collection[str]) -> Secrets:
        """See `KeySource`."""
        wanted, found = sorted(ids), dict[str, bytes]()
        for start in range(0, len(wanted), _MOST):
            found.update(self._ask(wanted[start : start + _MOST]))
        return found

    def _ask(self, ids: list[str]) -> Secrets:
        body = msgspec.msgpack.encode(KeysWanted(ids))
        headers = {"content-type": MSGPACK}
        try:
            answer = self._http.post("/internal/keys", content=body, headers=headers, timeout=_SECONDS)
        except httpx.HTTPError as error:
            raise KeysAway(f"the service does not hand out keys: {error}") from error
        if answer.status_code != 200:
            error = error_of(answer.status_code, answer.content, answer.headers)
            raise KeysAway(f"the service does not hand out keys: {error}") from error
        return msgspec.msgpack.decode(answer.content, type=Keys).keys
