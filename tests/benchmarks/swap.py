"""How long a hot swap takes under chat load, and what chats notice of it.

    python -m tests.benchmarks.swap [--model DIR] [--swaps 20] [--clients 16] [--out build/benchmarks/swap.json]

A real service serves the model while clients stream without pause; versions are published one after another. Reported:
seconds per swap (the service's own figure, and as a caller sees it), the longest gap between two tokens of a stream
while swaps happen and while none do, and chats that were lost or cut (none should be).
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
from tests.integration.conftest import RealService, free_port
from tests.tiny_model import make_adapter, make_model

QUIET_SECONDS = 5.0


class Talker(threading.Thread):
    """Streams chats until told to stop; notes every gap between tokens and every chat that ends badly."""

    def __init__(self, url: str, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.number = number
        self.stopping = stop
        self.gaps: list[tuple[float, float]] = []
        self.chats = self.lost = self.truncated = 0

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60.0) as client:
            while not self.stopping.is_set():
                self.chats += 1
                try:
                    self._chat(client)
                except httpx.HTTPError:
                    self.lost += 1

    def _chat(self, client: httpx.Client) -> None:
        body = {"messages": [{"role": "user", "content": "Where is my order?"}], "max_tokens": 96, "stream": True}
        with client.stream("POST", "/v1/chat/completions", json={**body, "ignore_eos": True}) as answer:
            answer.raise_for_status()
            last, line = time.monotonic(), ""
            for line in filter(None, answer.iter_lines()):  # noqa: B007 - the last one is looked at
                now = time.monotonic()
                self.gaps.append((now, now - last))
                last = now
            self.truncated += line != "data: [DONE]"


def measure(service: RealService, adapters: list[Path], *, swaps: int, clients: int) -> dict[str, Any]:
    stop = threading.Event()
    talkers = [Talker(service.url, i, stop) for i in range(clients)]
    for talker in talkers:
        talker.start()
    time.sleep(QUIET_SECONDS)
    begun = time.monotonic()
    told, seen = [], []
    for i in range(swaps):
        service.write(f"swap{i}", adapters[i % len(adapters)])
        asked = time.monotonic()
        service.announce(f"swap{i}")
        policy = service.wait_for(f"swap{i}", "live")
        seen.append(time.monotonic() - asked)
        told.append(policy.swap_seconds or 0.0)
        print(f"swap {i + 1}/{swaps}: {told[-1] * 1000:.0f} ms", flush=True)
    stop.set()
    for talker in talkers:
        talker.join()
    gaps = [gap for talker in talkers for gap in talker.gaps]
    return {
        "swaps": [{"seconds": a, "seconds_seen_by_caller": b} for a, b in zip(told, seen, strict=True)],
        "seconds": {"median": statistics.median(told), "max": max(told)},
        "longest_gap_seconds": {
            "while_swapping": max(gap for at, gap in gaps if at >= begun),
            "before": max(gap for at, gap in gaps if at < begun),
        },
        "chats": {
            "total": sum(t.chats for t in talkers),
            "lost": sum(t.lost for t in talkers),
            "truncated": sum(t.truncated for t in talkers),
        },
        "clients": clients,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="checkpoint to serve (default: a tiny random one)")
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/swap.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model.resolve() if options.model else make_model(folder / "model", hidden=192, layers=4)
        adapters = [make_adapter(model, folder / f"a{seed}", rank=8, scale=0.05, seed=seed) for seed in range(3)]
        service = RealService(folder, model, free_port())
        try:
            service.start()
            report = measure(service, adapters, swaps=options.swaps, clients=options.clients)
        finally:
            service.close()
            service.stop()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({key: value for key, value in report.items() if key != "swaps"}, indent=2))


if __name__ == "__main__":
    main()
