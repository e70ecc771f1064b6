"""What kafka-python leaves behind: sockets that it could not connect are the garbage collector's to close."""

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def sockets_collected(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Collect them when the block has ended, without the warnings that a later test would be blamed for."""
    caplog.set_level(logging.CRITICAL, logger="kafka")  # kept records would keep the sockets of their tracebacks
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
