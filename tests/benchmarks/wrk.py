"""`wrk` with thumbs whose natural key is new each time."""

import json
import subprocess
from pathlib import Path
from string import Template
from typing import NamedTuple

from tests.benchmarks.thumbs import COMMENT, COMPLETIONS

# What `thumbs.thumb` encodes, written by wrk's own Lua.
_SCRIPT = Template("""\
local number = 0
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer $key"
function request()
  number = number + 1
  return wrk.format(nil, "/v1/feedback", nil, string.format(
    '{"kind":"thumb","completion_id":"bench-%d","user":"$run-%d","value":"%s","reasons":["incomplete"],"comment":"%s"}',
    number % $completions, number, number % 3 == 0 and "down" or "up", "$comment"))
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests":%d,"seconds":%f,"refused":%d,"broken":%d,"p50":%f,"p99":%f}\\n', summary.requests,
    summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
""")


class Storm(NamedTuple):
    """What one run of wrk saw; p50 and p99 in milliseconds, under as much load as the server takes."""

    requests: int
    seconds: float
    refused: int
    """Answers of 400 and above."""
    broken: int
    """Connections that failed or timed out."""
    p50: float
    p99: float

    @property
    def per_second(self) -> float:
        return (self.requests - self.refused) / self.seconds


def storm(url: str, key: str, run: str, folder: Path, *, seconds: int, connections: int, core: int) -> Storm:
    """As many thumbs as the server takes, from one core; `run` keeps the natural keys of runs apart."""
    script = folder / f"{run}.lua"
    script.write_text(_SCRIPT.substitute(key=key, run=run, completions=COMPLETIONS, comment=COMMENT))
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    return Storm(**json.loads(told.stdout.rstrip().rpartition("\n")[2]))
