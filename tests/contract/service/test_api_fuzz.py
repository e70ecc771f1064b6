"""The API keeps to its own OpenAPI document, whatever is sent; the long form is tests/benchmarks/api_fuzz.py."""

import logging
from pathlib import Path

import pytest
from tests.api_fuzz import RunningApp, fuzz

CASES = 20


def test_every_operation_answers_as_its_document_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with RunningApp(tmp_path) as app:
        tallies = fuzz(app, CASES, seed=True)
    assert len(tallies) >= 20
    for label, tally in tallies.items():
        assert tally.undocumented_5xx == [], label
        assert tally.untyped == [], label
        assert tally.violations == [], label
        assert tally.cases >= CASES, label
        assert tally.share_2xx >= 0.3, (label, tally.statuses)
