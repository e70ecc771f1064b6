"""A wall clock that jumps, for the processes that are started with it; steady clocks go on as they were."""

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path

_LIBRARIES = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"),
)
_HOUR = 3600
JUMPS_S = (5, -5, _HOUR, -_HOUR, 240 * _HOUR, -240 * _HOUR, 0)
"""From a correction by NTP to a machine that wakes up in another week."""
_PAUSES_S = (1.0, 5.0)


def library() -> Path | None:
    """libfaketime (`apt-get install libfaketime`), if it is installed."""
    return next((path for path in _LIBRARIES if path.exists()), None)


class Clock:
    """What time it is for our processes; `environment` makes them look."""

    def __init__(self, file: Path, seed: int) -> None:
        self._file = file
        self._draw = random.Random(f"clock/{seed}")
        self.jumps = 0
        self.set(0)

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """So many seconds ahead of the true time."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{seconds:+d}\n", encoding="ascii")
        draft.replace(self._file)

    async def jump_about(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._draw.uniform(*_PAUSES_S))
            self.set(self._draw.choice(JUMPS_S))
            self.jumps += 1
