"""A file of patterns is checked before anything is served; what is wrong is named."""

from collections import Counter
from pathlib import Path

import pytest

from thumbwheel.errors import ConfigurationError
from thumbwheel_service.redaction.patterns import BadPattern, load_patterns
from thumbwheel_service.redaction.scrubber import Scrubber


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("own.json", r'{"customer": "\\bK-\\d{6}\\b", "ticket": "(?i)ticket (?P<pii>\\d+)"}'),
        ("own.toml", "customer = '''\\bK-\\d{6}\\b'''\nticket = '''(?i)ticket (?P<pii>\\d+)'''"),
    ],
)
def test_json_and_toml(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    scrub = Scrubber(load_patterns(tmp_path / name))
    assert scrub("K-123456 has Ticket 9", Counter()) == "[customer] has Ticket [ticket]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"customer": "K-("}', "the pattern 'customer' is no regular expression: missing )"),
        ('{"customer": 3}', "the pattern 'customer' must be a regular expression in quotes"),
        ('{"Kunde Nr": "K"}', "the pattern 'Kunde Nr' needs a name"),
        ('{"customer": "(K-\\\\d+)?"}', "the pattern 'customer' matches the empty text"),
        (r'{"customer": "(\\w+\\s?)*[:;]$"}', "the pattern 'customer' takes too long on a row of 'a'"),
        ('{"customer": "(x+x+)+y"}', "the pattern 'customer' takes too long on a row of 'x'"),
        ('["K"]', "must be an object"),
        ("{", "is not JSON"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "own.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadPattern) as caught:
        load_patterns(path)
    assert isinstance(caught.value, ConfigurationError)
    assert str(caught.value).startswith(f"THUMBWHEEL_REDACT_PATTERNS={path}")
    assert words in str(caught.value)
