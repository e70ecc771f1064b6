"""What every test may rely on: no settings from outside, no network for models, few threads.

Set before any test module is imported: libraries read these when they are loaded, and so do the processes that tests
start.
"""

import os

os.environ.update(
    HF_HUB_OFFLINE="1",
    VLLM_NO_USAGE_STATS="1",
    DO_NOT_TRACK="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "2"),
)
for name in [name for name in os.environ if name.startswith("THUMBWHEEL_")]:
    del os.environ[name]
