"""`thumbwheel up`: service and learner on this machine, as one thing that starts and stops together."""

import argparse
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from thumbwheel.commands.service import console
from thumbwheel.errors import ConfigurationError
from thumbwheel.supervisor import Child, stop_all, wait_ready

if TYPE_CHECKING:
    from thumbwheel.commands.service import Subparsers

NEEDED = {
    "service": ("litestar", "uvicorn", "sqlmodel", "vllm"),
    "learner": ("torch", "transformers", "peft", "apscheduler"),
}
_PATIENCE_S = 45.0
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Place(NamedTuple):
    """Where the service listens and keeps its state."""

    data: Path
    host: str
    port: int

    @property
    def url(self) -> str:
        """As this machine reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "[::]": "[::1]"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host and "[" not in host else f"http://{host}:{self.port}"


def register(subparsers: "Subparsers") -> None:
    """Add `up`."""
    parser = subparsers.add_parser(
        "up",
        help="start service and learner together; Ctrl-C stops both",
        description="Starts the service and, once it answers, the learner, and watches over both. Everything else is "
        "configured by THUMBWHEEL_ variables, which are passed on.",
        epilog="example: thumbwheel up --model ./my-model --port 8080 --data ./state",
    )
    parser.add_argument("--data", type=Path, help="folder of the state (THUMBWHEEL_DATA; default .thumbwheel)")
    parser.add_argument("--host", help="address to listen on (THUMBWHEEL_HOST; default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (THUMBWHEEL_PORT; default 8000)")
    parser.add_argument(
        "--model", help="local path or hub id of a causal model (THUMBWHEEL_MODEL; default the demo policy)"
    )
    parser.add_argument("--no-learner", action="store_true", help="only the service")
    parser.add_argument("--verbose", action="store_true", help="their logs on this terminal instead of DATA/logs/")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Until Ctrl-C or SIGTERM: 0. Raises `ConfigurationError`, `ChildFailed`."""
    place = place_of(arguments, os.environ)
    _check_installed([] if arguments.no_learner else ["learner"])
    check_port(place)
    environment = {**os.environ, "THUMBWHEEL_DATA": str(place.data), "THUMBWHEEL_HOST": place.host}
    environment |= {"THUMBWHEEL_PORT": str(place.port), "PYTHONUNBUFFERED": "1"}
    if arguments.model:
        environment["THUMBWHEEL_MODEL"] = arguments.model
    logs = None if arguments.verbose else place.data / "logs"
    service = Child("service", "thumbwheel_service", environment, logs and logs / "service.log")
    # The learner uses the admin key that the service's first start writes, not whatever key this shell happens to hold.
    environment = {name: value for name, value in environment.items() if name != "THUMBWHEEL_API_KEY"}
    environment["THUMBWHEEL_URL"] = place.url
    learner = Child("learner", "thumbwheel_learner", environment, logs and logs / "learner.log")
    return supervise(place, service, None if arguments.no_learner else learner, patience_s=_PATIENCE_S)


def place_of(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Place:
    """Arguments over environment over defaults; port 0 becomes a free one. Raises `ConfigurationError`."""
    data = Path(arguments.data or environment.get("THUMBWHEEL_DATA") or ".thumbwheel").expanduser().absolute()
    host = arguments.host or environment.get("THUMBWHEEL_HOST") or "127.0.0.1"
    given = environment.get("THUMBWHEEL_PORT") or "8000" if arguments.port is None else str(arguments.port)
    if not given.isdigit() or int(given) > 65535:
        raise ConfigurationError(f"the port must lie between 0 and 65535, not {given!r}")
    return Place(data, host, int(given) or _free_port(host))


def _free_port(host: str) -> int:
    with _bound(host, 0) as listening:
        return int(listening.getsockname()[1])


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening


def check_port(place: Place) -> None:
    """Raises `ConfigurationError` when the address is taken, before anything is started."""
    try:
        _bound(place.host, place.port).close()
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {place.host} port {place.port} ({error.strerror}): is a Thumbwheel running there "
            "already? Choose another with --port (make up PORT=…)"
        ) from error


def _check_installed(wanted: list[str]) -> None:
    missing = [name for part in ["service", *wanted] for name in NEEDED[part] if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"not installed: {', '.join(missing)}. pip install 'thumbwheel[service,learner,cpu]' (or gpu for cpu); "
            "`thumbwheel doctor` says more"
        )


def supervise(place: Place, service: Child, learner: Child | None, *, patience_s: float) -> int:
    """Start, announce, watch and stop; raises `ChildFailed` when the service never becomes ready."""
    out = console(stderr=True)
    signals: list[int] = []
    before = {
        number: signal.signal(number, lambda n, _: signals.append(n)) for number in (signal.SIGINT, signal.SIGTERM)
    }

    def say(line: str) -> None:
        out.print(line, markup=False)

    children = [service]
    try:
        service.start()
        say(f"starting the service{service.where()}")
        with out.status("loading the model"), asking(place.url) as is_ready:
            ready = wait_ready(service, is_ready, lambda: bool(signals))
        if ready and learner is not None:
            children.insert(0, learner)
            learner.start()
        if ready:
            say(announcement(place, learner))
        while not signals:
            for child in children:
                child.watch(say)
            time.sleep(0.2)
        return 0
    finally:
        asked = len(signals)
        stop_all(children, say, patience_s=patience_s, hurry=lambda: len(signals) > max(1, asked))
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def asking(url: str) -> Iterator[Callable[[], bool]]:
    """A way to ask whether the service is ready to chat, over one client: making one costs more than asking."""
    import httpx

    with httpx.Client(base_url=url, timeout=2.0, trust_env=False) as http:

        def is_ready() -> bool:
            try:
                return http.get("/readyz").status_code == 200
            except httpx.HTTPError:
                return False

        yield is_ready


def announcement(place: Place, learner: Child | None) -> str:
    """What a person needs to know now."""
    return f"""
Thumbwheel is up at {place.url}

  chat         thumbwheel chat --url {place.url}
  over HTTP    curl {place.url}/v1/chat/completions -H 'content-type: application/json' \\
                 -d '{{"messages": [{{"role": "user", "content": "Where is my order?"}}]}}'
  status       thumbwheel status --url {place.url} --data {place.data}
  admin key    {place.data / "admin.key"}
  logs         {place.data / "logs"}
  learner      {"not started" if learner is None else "running"}

Ctrl-C stops all of it.
"""
